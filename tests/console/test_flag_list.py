"""The list of flags in a browser: search while typing, more rows, selection, a kill switch."""

import re

from playwright.async_api import expect

from tests.api.console.flag_list import PRO, address, boolean, create
from tests.conftest import Service
from tests.console.browser import Visit


async def test_search_follows_typing_and_the_url(service: Service, visit: Visit) -> None:
    await create(service, {"checkout/newForm": boolean(PRO), "search/index": boolean()})
    page, rows = visit.page, visit.page.locator("tbody tr")
    await visit.open_page(address())

    await page.keyboard.press("/")
    await page.keyboard.type("newfo")
    await expect(rows).to_have_count(1)
    await expect(page.locator("#flag-search")).to_be_focused()
    await expect(page).to_have_url(re.compile(r"flags\?q=newfo$"))
    await page.get_by_label("State").select_option("off")
    await expect(page.get_by_text("No flag matches")).to_be_visible()
    await page.go_back()
    await expect(rows).to_have_count(1)
    await page.go_back()
    await expect(rows).to_have_count(2)


async def test_more_rows_come_by_scrolling(service: Service, visit: Visit) -> None:
    await create(service, {f"flag-{number:03}": boolean() for number in range(90)})
    page = visit.page
    await visit.open_page(address())
    await expect(page.locator("tbody input")).to_have_count(60)

    await page.locator("#more-flags").scroll_into_view_if_needed()

    await expect(page.locator("tbody input")).to_have_count(90)
    await expect(page.locator("#more-flags")).to_have_count(0)


async def test_selection_takes_ranges_and_counts(service: Service, visit: Visit) -> None:
    await create(service, {f"flag-{number}": boolean() for number in range(5)})
    page, boxes = visit.page, visit.page.locator("tbody input")
    await visit.open_page(address())
    await expect(page.locator(".bulk-bar")).to_be_hidden()

    await boxes.nth(1).click()
    await boxes.nth(3).click(modifiers=["Shift"])
    await expect(page.locator("[data-selected]")).to_have_text("3 selected")
    await page.get_by_label("Select all flags shown").click()
    await expect(page.locator("[data-selected]")).to_have_text("5 selected")
    await page.get_by_label("Select all flags shown").click()
    await expect(page.locator(".bulk-bar")).to_be_hidden()


async def test_on_call_switches_a_flag_off_by_keyboard(service: Service, visit: Visit) -> None:
    await create(service, {"payments/taxEngine": boolean(PRO), "other": boolean()}, "production")
    page, state = visit.page, visit.page.locator(".flag-cell.here .flag-state")
    visit.expect_fault("422")
    await visit.open_page(address("production"))

    await page.keyboard.press("/")
    await page.keyboard.type("taxEn")
    await expect(page.locator("tbody tr")).to_have_count(1)
    await expect(state).to_have_text("1 rule")
    await page.get_by_label("Select payments/taxEngine").press("Space")
    await page.get_by_role("button", name="Switch off").press("Enter")
    await page.get_by_label("Type production to confirm").fill("prod")
    await page.keyboard.press("Enter")
    refusal = page.get_by_role("alert").filter(has_text="Type production, exactly")
    await expect(refusal).to_be_visible()
    confirmation = page.get_by_label("Type production to confirm")
    await confirmation.fill("production")
    # The page moves the focus to the error as soon as it is drawn.
    await confirmation.press("Enter")

    await expect(state).to_have_text("off for all")
    await expect(page.get_by_role("link", name="Undo…")).to_be_visible()
    await page.go_back()
    await expect(page.get_by_text("Nothing would change in production.")).to_be_visible()


async def test_flag_is_created_by_keyboard(service: Service, visit: Visit) -> None:
    await create(service, {"taken": boolean()})
    page = visit.page
    await visit.open_page(address())

    await page.keyboard.press("n")
    await expect(page.locator("#f-key")).to_be_focused()
    await page.keyboard.type("taken")
    await expect(page.locator("#key-check")).to_have_text("local has an entry of this key")
    await page.locator("#f-key").fill("free")
    await expect(page.locator("#key-check")).to_have_text("This key is free")
    await page.get_by_label("Text", exact=True).check()
    await page.get_by_label("Name of variant 1").fill("blue")
    await page.locator("#f-key").focus()
    await page.keyboard.press("Enter")

    await expect(page).to_have_url(re.compile("/flags/free[?]saved=2$"))


async def test_chosen_target_changes_the_promotion(service: Service, visit: Visit) -> None:
    await create(service, {"a": boolean(PRO)})
    page = visit.page
    await visit.open_page(f"{address(page='flag-actions')}?action=promote&flag=a")

    await page.get_by_label("Promote to").focus()
    await page.keyboard.press("p")

    await expect(page.get_by_role("heading", level=1)).to_have_text("Promote a to production")
    await expect(page.get_by_role("button", name="Promote to production")).to_be_visible()
    await expect(page.get_by_label("Promote to")).to_be_focused()
    await expect(page).to_have_url(re.compile(r"target=production"))
    await visit.assert_accessible()
