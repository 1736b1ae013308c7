"""A person whom an identity-aware proxy names signs in, in a real browser."""

from ipaddress import ip_network

from playwright.async_api import expect

from tests.conftest import Service
from tests.console.browser import WIDTHS, Visit
from tests.identity_providers import trusting
from tests.people import give

FLAGS = "/console/environments/local/flags"


async def test_person_of_a_proxy_signs_in_by_the_button(service: Service, stranger: Visit) -> None:
    await give(service, "platform", "viewer")
    page = stranger.page
    named = {"X-Forwarded-User": "asha", "X-Forwarded-Groups": "platform"}
    await stranger.context.set_extra_http_headers(named)
    try:
        with trusting(service, ip_network("127.0.0.0/8")):
            await page.goto(stranger.url + FLAGS)
            for width in WIDTHS:
                await stranger.look(width=width)
                await stranger.assert_laid_out()
            await stranger.assert_accessible()
            await page.get_by_role("button", name="Continue as asha").click()
            await page.wait_for_url(f"**{FLAGS}")

            await stranger.context.set_extra_http_headers({**named, "X-Forwarded-User": "juma"})
            await page.reload()
            await expect(page.get_by_role("button", name="Continue as juma")).to_be_visible()
    finally:
        await stranger.context.set_extra_http_headers({})
