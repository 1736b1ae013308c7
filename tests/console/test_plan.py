"""The plan of a flag in a real browser: made from a template, watched, paused, and stopped."""

import pytest
from playwright.async_api import expect

from tests.api.console.test_plan import planned
from tests.conftest import Service
from tests.console.browser import WIDTHS, Visit
from tests.console.drivers import DRIVERS
from tests.console.test_flag_panels import put
from tests.factories import flag

PAGE = "/console/environments/local/flags/search?view=plan"


@pytest.mark.parametrize("kind", DRIVERS)
async def test_plan_is_made_from_a_template_and_stopped(
    service: Service, visit: Visit, kind: str
) -> None:
    await put(service, "search", flag(defaultVariant="off"))
    page, person = visit.page, DRIVERS[kind](visit.page)
    await visit.open(PAGE)

    await person.pick(page.get_by_label("Template", exact=True), "one-day")
    await person.choose(page.get_by_role("button", name="Fill in the steps"))
    percent = page.get_by_label("Percent of step 2")
    await expect(percent).to_have_value("25")
    await person.type(percent, "30")
    await expect(page.locator("#plan-pending")).to_contain_text("Plan one-day is added: 4 steps")
    await person.choose(page.get_by_role("button", name="Remove step 3"))
    await expect(page.get_by_role("heading", name="Step 4")).to_have_count(0)
    await person.choose(page.get_by_role("button", name="Save the plan to local"))
    await page.wait_for_url(lambda url: "saved=" in url)
    await expect(page.get_by_text("Step 1 of 3: on for 10 %.")).to_be_visible()
    assert visit.dialogs == []

    await person.choose(page.get_by_role("link", name="Stop and return"))
    await person.type(page.locator("#plan-control").get_by_label("Message"), "Too many errors")
    await person.choose(page.get_by_role("button", name="Stop and return"))
    await page.wait_for_url(lambda url: "saved=3" in url)
    await expect(page.get_by_text("This flag has no plan.")).to_be_visible()


async def test_plan_is_accessible_and_laid_out(service: Service, visit: Visit) -> None:
    await put(service, "search", planned(-1, 1, 2, linear=True))
    await visit.open(f"{PAGE}&when=2099-01-01T00:00")
    await visit.page.get_by_text("Edit the plan").click()
    await visit.page.get_by_role("link", name="Pause").click()
    await visit.page.get_by_role("heading", name="Pause the plan in local").wait_for()

    await visit.assert_accessible()
    await visit.look(scheme="dark")
    await visit.assert_accessible(only_colours=True)
    for width in (360, *WIDTHS):
        await visit.look(width=width)
        await visit.assert_laid_out()


async def test_error_is_shown_beside_the_step(service: Service, visit: Visit) -> None:
    await put(service, "search", planned(-1, 1))
    page = visit.page
    await visit.open(PAGE)
    await page.get_by_text("Edit the plan").click()
    visit.expect_fault("422")

    await page.get_by_label("Percent of step 2").fill("120")
    await page.get_by_role("button", name="Save the plan to local").click()

    await expect(page.get_by_role("alert").filter(has_text="Not saved.")).to_be_visible()
    field = page.get_by_label("Percent of step 2")
    await expect(field).to_have_attribute("aria-invalid", "true")
    await expect(field).to_have_accessible_description("must be a number from 0 to 100")
    await page.get_by_role("link", name="Step 2: percent").click()
    await expect(field).to_be_focused()
    await visit.assert_accessible()
