"""After the sign-out nothing of the console is left in the browser."""

from playwright.async_api import Route, expect

from tests.conftest import Service
from tests.console.browser import Visit
from tests.factories import flag

FLAGS = "/console/environments/local/flags"


async def test_back_button_shows_no_page_after_sign_out(service: Service, visit: Visit) -> None:
    page = visit.page
    path = "/v1/environments/local/configurations/secret-plan"
    body = {"kind": "flag", "value": flag()}
    async with service.client.put(path, json=body, headers={"If-None-Match": "*"}) as answer:
        assert answer.status == 201
    await visit.open_page(FLAGS)
    await expect(page.get_by_text("secret-plan").first).to_be_visible()
    await page.locator(".header details.menu-end > summary").click()
    await page.get_by_role("button", name="Sign out").click()
    await page.wait_for_url("**/signed-out*")

    await page.go_back()
    await page.wait_for_url("**/sign-in?*")
    await expect(page.get_by_text("secret-plan")).to_have_count(0)


async def test_page_cannot_be_framed(stranger: Visit, service: Service) -> None:
    async def answer(route: Route) -> None:
        frame = f'<iframe src="{service.url}/console/sign-in"></iframe>'
        await route.fulfill(content_type="text/html", body=frame)

    stranger.expect_fault("frame-ancestors|ERR_BLOCKED_BY_RESPONSE")
    await stranger.page.route("**/frame", answer)
    async with stranger.page.expect_console_message(lambda m: "frame-ancestors" in m.text):
        await stranger.open("/frame")

    assert any("frame-ancestors" in fault for fault in stranger.faults), stranger.faults
