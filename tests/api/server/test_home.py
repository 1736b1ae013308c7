"""`GET /`: the console for browsers, JSON for other clients."""

from collections.abc import Mapping
from urllib.parse import urljoin

import pytest

from app import VERSION
from tests.conftest import Service

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


async def test_home_leads_browsers_to_the_console(service: Service) -> None:
    async with service.stranger.get(
        "/", headers={"Accept": BROWSER}, allow_redirects=False
    ) as answer:
        assert answer.status == 303
        assert answer.headers["Location"] == "console"


@pytest.mark.parametrize("headers", [{}, {"Accept": "application/json"}, {"Accept": "*/*"}])
async def test_home_is_json_for_other_clients(service: Service, headers: Mapping[str, str]) -> None:
    answer = await service.stranger.get("/", headers=headers)

    assert answer.content_type == "application/json"
    assert answer.headers["Content-Security-Policy"].startswith("default-src 'none';")
    links = await answer.json()
    assert (links.pop("name"), links.pop("version")) == ("Flagstone", VERSION)
    for link in links.values():
        assert (await service.stranger.get(urljoin("/", link))).status == 200, link
