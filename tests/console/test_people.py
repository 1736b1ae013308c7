"""The pages of people in a browser: how they look, and the story of a grant and its end."""

from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Browser, expect

from tests.conftest import Service
from tests.console import people_sample
from tests.console.browser import WIDTHS, Visit, visiting
from tests.console.people_sample import PeopleSample
from tests.people import sign_in_person

# The pages that test_pages.py does not open: they need an ID or a name of the sample.
PAGES = (
    "people?q=none",
    "people/{person}",
    "grants/{grant}",
    "roles/on-call",
    "roles/editor",
    "projects/payments",
    "access-check?action=write&environment=production&key=checkout/limit&actor=person:{person}",
)


_OPEN_DETAILS = "() => document.querySelectorAll('details').forEach(each => (each.open = true))"


@pytest.fixture(scope="module")
async def people(filled: Service) -> PeopleSample:
    return await people_sample.fill(filled)


@pytest.fixture
async def person(browser: Browser, service: Service) -> AsyncIterator[Visit]:
    """Yield the browser of a person in the group support, beside that of the administrator."""
    signed_in = await sign_in_person(service, "min-jun", "support", name="Kim Min-jun")
    async with visiting(browser, service.url) as visit:
        await visit.context.add_cookies(
            [{"name": "flagstone", "value": signed_in.text, "url": service.url}]
        )
        yield visit


@pytest.mark.parametrize("path", PAGES)
async def test_page_is_accessible_and_laid_out(
    people: PeopleSample, visit: Visit, path: str
) -> None:
    await visit.open_page(f"/console/{path.format(person=people.person, grant=people.grant)}")

    await visit.assert_accessible()
    await visit.look(scheme="dark")
    await visit.assert_accessible(only_colours=True)
    for width in WIDTHS:
        await visit.look(width=width)
        await visit.assert_laid_out()


async def test_grant_works_at_once_and_suspension_ends_it(person: Visit, visit: Visit) -> None:
    page, other = visit.page, person.page
    await person.open_page("/console/me")
    await expect(other.get_by_role("heading", name="You have no rights yet")).to_be_visible()

    # By keyboard alone: the group, the role, the environment and the reason.
    await visit.open_page("/console/grants/new")
    await page.get_by_label("Group").focus()
    await page.keyboard.type("support")
    await page.get_by_label("Role").focus()
    await page.keyboard.type("editor")
    await page.get_by_label("local", exact=True).focus()
    await page.keyboard.press("Space")
    await page.get_by_label("Reason").focus()
    await page.keyboard.type("Banners in an incident")
    await page.keyboard.press("Enter")
    await expect(page.get_by_text("Granted.")).to_be_visible()

    await other.reload()
    row = other.get_by_role("row").filter(has_text="Group support")
    await expect(row).to_contain_text("write")
    await expect(row).to_contain_text("Banners in an incident")

    await page.get_by_role("link", name="support").first.click()
    await page.get_by_role("link", name="Kim Min-jun").click()
    await page.get_by_text("Suspend", exact=True).click()
    await page.get_by_label("Reason").fill("Lost a laptop")
    await page.get_by_role("button", name="Suspend the person").click()
    await expect(page.get_by_text("Their sessions have ended")).to_be_visible()
    await other.reload()
    await expect(other.get_by_label("Token")).to_be_visible()

    await page.get_by_label("Reason").fill("Found it")
    await page.get_by_role("button", name="Restore the person").click()
    await expect(page.get_by_text("They may sign in again.")).to_be_visible()
    await page.get_by_role("link", name="Suspensions").click()
    await expect(page.get_by_role("row").nth(1)).to_contain_text("Restored Kim Min-jun")
    await expect(page.get_by_role("row").nth(2)).to_contain_text("Lost a laptop")


async def test_error_of_a_grant_is_beside_its_field(visit: Visit) -> None:
    page = visit.page
    await visit.open_page("/console/grants/new?group=support&environments=local")
    visit.expect_fault("422")
    await page.get_by_label("Reason").fill("x")
    await page.get_by_label("Only keys that begin with").fill("/home")
    await page.get_by_role("button", name="Grant").click()

    field = page.get_by_label("Only keys that begin with")
    await expect(field).to_have_attribute("aria-invalid", "true")
    await expect(field).to_have_value("/home")
    await expect(page.locator("#f-prefix-error")).to_contain_text("must be empty")


async def test_long_names_stay_in_a_narrow_window(service: Service, visit: Visit) -> None:
    group, name, prefix = "g" * 255, "n" * 63, "k" * 250 + "/"
    asha = await sign_in_person(service, "s" * 255, group, name="n" * 200)
    await people_sample.post(service, "/v1/roles", {"name": name, "scopes": ["read", "approve"]})
    project = {"name": name, "prefix": prefix, "owner_group": group, "description": "d" * 200}
    await people_sample.post(service, "/v1/projects", project)
    body = {"group": group, "role": name, "environments": ["local"], "prefix": prefix}
    grant = await people_sample.post(service, "/v1/grants", body | {"reason": "r" * 500})
    question = f"access-check?action=read&environment=local&key={prefix}x"
    await visit.look(width=390)

    for path in (
        *("people", "groups", "grants", "grants/history", "grants/new", "roles", "projects"),
        *(f"people/{asha.person.id}", f"grants/{grant['id']}", f"roles/{name}"),
        *(f"projects/{name}", question, f"{question}&actor={asha.person.actor}"),
    ):
        await visit.open_page(f"/console/{path}")
        await visit.page.evaluate(
            "document.querySelectorAll('details').forEach(d => d.open = true)"
        )
        await visit.assert_laid_out()
