"""`GET /`: a page for browsers, JSON for other clients."""

import re
from collections.abc import Mapping
from urllib.parse import urljoin

import pytest

from app import VERSION
from tests.conftest import Service

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


async def test_home_is_a_page_without_scripts_for_browsers(service: Service) -> None:
    answer = await service.stranger.get("/", headers={"Accept": BROWSER})
    page = await answer.text()

    assert (answer.status, answer.content_type) == (200, "text/html")
    policy = answer.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy
    assert "<script" not in page
    assert f"Flagstone <small>{VERSION}</small>" in page
    assert "make token args=" in page
    for link in re.findall(r'href="(?!data:)([^"]+)"', page):
        assert (await service.stranger.get(urljoin("/", link))).status == 200, link


@pytest.mark.parametrize("headers", [{}, {"Accept": "application/json"}, {"Accept": "*/*"}])
async def test_home_is_json_for_other_clients(service: Service, headers: Mapping[str, str]) -> None:
    answer = await service.stranger.get("/", headers=headers)

    assert answer.content_type == "application/json"
    assert answer.headers["Content-Security-Policy"].startswith("default-src 'none';")
    links = await answer.json()
    assert (links.pop("name"), links.pop("version")) == ("Flagstone", VERSION)
    for link in links.values():
        assert (await service.stranger.get(urljoin("/", link))).status == 200, link
