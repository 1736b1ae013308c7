"""A whole job by keyboard alone: create a flag, target it, split the rest, save, and undo."""

from typing import Any

from playwright.async_api import Locator, Page, expect

from tests.conftest import Service
from tests.console.browser import Visit

KEY = "shop/express"
FLAGS = "/console/environments/local/flags"
_TABS_MAX = 200


async def _tab_to(page: Page, target: Locator) -> None:
    """Press Tab until the element has the focus."""
    await target.wait_for()
    for _ in range(_TABS_MAX):
        if await target.evaluate("element => element === document.activeElement"):
            return
        await page.keyboard.press("Tab")
    raise AssertionError(f"{_TABS_MAX} tabs do not lead to {target}")


async def _stored(service: Service) -> Any:
    async with service.client.get(f"/v1/environments/local/configurations/{KEY}") as answer:
        return (await answer.json())["value"]


async def test_flag_is_made_targeted_split_and_undone_by_keys(
    service: Service, visit: Visit
) -> None:
    page = visit.page
    await visit.open_page(FLAGS)
    await page.keyboard.press("n")
    await page.wait_for_url("**/new-flag")
    await expect(page.locator("[name=key]")).to_be_focused()
    await page.keyboard.type(KEY)
    await page.keyboard.press("Control+Enter")
    await page.wait_for_url(f"**{FLAGS}/{KEY}?*saved=*")

    await _tab_to(page, page.get_by_role("button", name="Rule", exact=True))
    await page.keyboard.press("Enter")
    await expect(page.locator('[name="rules.0.condition.attribute"]')).to_be_focused()
    await page.keyboard.type("email")
    await page.keyboard.press("Tab")
    await page.keyboard.type("ends")
    await page.keyboard.press("Tab")
    await page.keyboard.type("@example.org")

    await _tab_to(page, page.locator('[name="otherwise.serve"]'))
    await page.keyboard.type("a split")
    percent = page.locator('[name="otherwise.shares.0.percent"]')
    await _tab_to(page, percent)
    await page.keyboard.press("Control+a")
    await page.keyboard.type("25")
    await expect(page.locator('[name="otherwise.shares.1.percent"]')).to_have_value("75")
    await expect(page.locator("#pending-changes")).to_contain_text("25 %")
    await page.keyboard.press("Control+Enter")
    await page.wait_for_url("**saved=2*")
    condition, served, otherwise = (await _stored(service))["targeting"]["if"]
    assert condition == {"ends_with": [{"var": "email"}, "@example.org"]}
    assert served == "on"
    assert otherwise.keys() == {"fractional"}

    await _tab_to(page, page.get_by_role("button", name="Undo"))
    await page.keyboard.press("Enter")
    await expect(page.locator('[name="rules.0.condition.attribute"]')).to_have_count(0)
    assert "targeting" not in await _stored(service)
