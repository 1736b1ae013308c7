"""Lists in the console: the pages of segments, flags and changes show them."""

import pytest

from tests.api.configuration.test_lists import put_flag, upload
from tests.conftest import Service


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("segments", "list of 2 values"),
        ("segments/beta", "ada"),
        ("flags/f", "is in the list"),
        ("flags", "/flags/f"),
        ("changes/1", "digest"),
        ("changes/2", "is in the list beta"),
    ],
)
async def test_page_shows_a_list(service: Service, path: str, text: str) -> None:
    await upload(service, "ada\nbob\n")
    await put_flag(service)
    async with service.signed_in(service.admin_token) as browser:
        answer = await browser.get(f"/console/environments/local/{path}")
        assert answer.status == 200
        assert text in await answer.text()
