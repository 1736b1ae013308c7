"""The auditor and the product manager: they look into the past, raise a rollout and undo it."""

import re
from datetime import UTC, datetime, timedelta

import pytest
from playwright.async_api import Page, expect

from tests.console import sample
from tests.console.browser import Visit

ENVIRONMENT = f"/console/environments/{sample.ENVIRONMENT}"
CHANGES = f"{ENVIRONMENT}/changes"
FLAG = f"{ENVIRONMENT}/flags/{sample.FLAG}"

pytestmark = pytest.mark.usefixtures("filled")


def day(ago: float) -> str:
    return (datetime.now(UTC) - timedelta(days=ago)).date().isoformat()


async def test_auditor_finds_who_changed_a_flag(visit: Visit, page: Page) -> None:
    await visit.open_page(CHANGES)

    await page.get_by_label("Key", exact=True).fill("new-flow")
    await page.get_by_label("From day (UTC)").fill(day(40))
    await page.get_by_label("To day (UTC)").fill(day(15))
    await page.get_by_role("button", name="Filter").click()
    await expect(page.locator(".timeline > li")).to_have_count(2)
    await page.get_by_role("link", name="Revision 4").click()

    await expect(page.get_by_role("heading", name="No complaints so far: 10 %")).to_be_visible()
    main = page.locator("#main")
    await expect(main).to_contain_text("Amina Odhiambo")
    await expect(main).to_contain_text("Rollout of on for everyone else changed from 5 % to 10 %")
    await expect(main).to_contain_text(re.compile(r"[\d,]+ from off to on"))


async def test_auditor_sees_the_environment_of_a_day(visit: Visit, page: Page) -> None:
    await visit.open_page(f"{ENVIRONMENT}/settings/{sample.SETTING}")
    await page.get_by_label("As of: now").click()
    await page.get_by_label("Show this page as of").fill(f"{day(11.95)}T00:00")
    await page.get_by_role("button", name="Show the past").click()

    await page.wait_for_url(re.compile(r"at=\d{4}-\d\d-\d\dT\d\d%3A\d\d%3A00Z"))
    notice = page.get_by_role("status").filter(has_text="You see the past")
    await expect(notice).to_contain_text("production at")
    await visit.assert_accessible()
    await notice.get_by_role("link", name="Back to now").click()
    await page.wait_for_url(f"**/settings/{sample.SETTING}")
    await expect(notice).to_have_count(0)


async def test_auditor_works_by_keyboard(visit: Visit, page: Page) -> None:
    await visit.open_page(f"{ENVIRONMENT}/segments/{sample.SEGMENT}")
    await page.keyboard.press("g")
    await page.keyboard.press("c")
    await page.wait_for_url(f"**{CHANGES}")

    await page.keyboard.press("/")
    await expect(page.get_by_label("Key", exact=True)).to_be_focused()
    await page.keyboard.type("payment")
    await page.keyboard.press("Enter")
    await page.wait_for_url("**key=payment**")
    await page.get_by_role("link", name="Revision 6").focus()
    await page.keyboard.press("Enter")
    await page.wait_for_url(f"**{CHANGES}/6**")
    await page.get_by_role("link", name="the state before").focus()
    await page.keyboard.press("Enter")
    await page.wait_for_url("**/flags?revision=5")

    await expect(page.get_by_text("You see the past:")).to_be_visible()
    await page.get_by_role("link", name="Later").focus()
    await page.keyboard.press("Enter")
    await page.wait_for_url("**/flags?revision=6")


async def test_history_of_a_flag_is_in_its_tab(visit: Visit, page: Page) -> None:
    await visit.open_page(FLAG)
    await page.get_by_role("link", name="History", exact=True).click()

    history = page.locator("#key-history")
    await expect(history).to_contain_text("Raise to a quarter")
    await expect(history).to_contain_text("Rollout of on for everyone else changed from 0 % to 5 %")
    await visit.assert_accessible()


async def test_manager_promotes_by_keyboard(visit: Visit, page: Page) -> None:
    await visit.open_page("/console/environments/staging/compare?against=production")
    await page.get_by_role("checkbox", name="checkout/express-pay").focus()
    await page.keyboard.press("Space")
    await page.keyboard.press("Enter")

    await expect(page.get_by_text("The promotion is one change set")).to_be_visible()
    await visit.assert_accessible()
    await page.get_by_label("Message").focus()
    await page.keyboard.type("Ready for all staff")
    await page.get_by_label("Type production to confirm").focus()
    await page.keyboard.type("production")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", name="Ready for all staff")).to_be_visible()
    await expect(page.locator("#main")).to_contain_text("Switched on")
