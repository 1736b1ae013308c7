"""The typed name of an environment: every costly form refuses a wrong one at its field."""

import json
from collections.abc import Awaitable, Callable

import pytest
from playwright.async_api import Page, expect

from app.access.models import Scope
from tests.api.configuration.proposal_calls import protect, put, write
from tests.api.console.test_plan import planned
from tests.conftest import Service
from tests.console.browser import Visit
from tests.console.conftest import sign_in
from tests.factories import flag

ROOT = "/console/environments/production"
Form = Callable[[Visit], Awaitable[object]]


def at(path: str, opens: str = "") -> Form:
    """Return the way to a form: its page, and the part of the page that is closed at first."""

    async def go(visit: Visit) -> None:
        await visit.open_page(path)
        if opens:
            await visit.page.locator("summary", has_text=opens).click()

    return go


async def import_of_a_text(visit: Visit) -> None:
    await visit.open_page(f"{ROOT}/transfer")
    await visit.page.get_by_label("Or paste its text").fill(json.dumps({"flags": {"new": flag()}}))
    await visit.page.get_by_role("button", name="Show the effect").click()


async def change_of_a_plan(visit: Visit) -> None:
    await at(f"{ROOT}/flags/planned?view=plan", "Edit the plan")(visit)
    await visit.page.get_by_label("Percent of step 2").fill("30")


async def promotion(visit: Visit) -> None:
    await visit.open_page("/console/environments/local/compare?against=production")
    await visit.page.get_by_role("checkbox", name="copied").check()
    await visit.page.get_by_role("button", name="Preview the promotion").click()


async def rename(visit: Visit) -> None:
    await at(f"{ROOT}/settings/size", "Rename")(visit)
    await visit.page.get_by_label("New key").fill("length")


FORMS = {
    "switch": (at(f"{ROOT}/flag-switch/f"), "Switch off"),
    "copy": (at(f"{ROOT}/flag-copy/copied?source=local"), "Create in production"),
    "flags": (at(f"{ROOT}/flag-actions?action=switch-off&flag=f"), "Switch off in production"),
    "plan": (change_of_a_plan, "Save the plan to production"),
    "pause": (at(f"{ROOT}/flag-plan-control/planned?action=pause"), "Pause"),
    "rename": (rename, "Rename"),
    "delete": (at(f"{ROOT}/settings/size", "Delete"), "Delete"),
    "segment": (at(f"{ROOT}/segments/s", "Delete"), "Delete"),
    "list": (at(f"{ROOT}/segments/l", "Delete"), "Delete"),
    "revert": (at(f"{ROOT}/revert/1"), "Revert"),
    "restore": (at(f"{ROOT}/restore/1"), "Restore"),
    "promote": (promotion, "Promote to production"),
    "import": (import_of_a_text, "Import: 1 key"),
    "environment": (at("/console/environments/local/environment"), "Delete local"),
}


@pytest.fixture
async def shop(service: Service) -> Service:
    """Return a service with an entry of each kind in production."""
    await write(service, put("size", 5), environment="production")
    await write(
        service,
        put("f", flag(), kind="flag"),
        put("planned", planned(-1, 1), kind="flag"),
        put("s", {"in": [{"var": "group"}, ["beta"]]}, kind="segment"),
        environment="production",
    )
    await write(service, put("copied", flag(), kind="flag"), environment="local")
    headers = {"If-None-Match": "*", "Content-Type": "text/csv"}
    url = "/v1/environments/production/lists/l"
    async with service.client.put(url, data="ada\n", headers=headers) as answer:
        assert answer.status == 201, await answer.text()
    return service


async def assert_refused_at_the_field(visit: Visit, name: str) -> None:
    """Fail unless the field of the name has the focus, the error, and what was typed."""
    field = visit.page.get_by_label(f"Type {name} to confirm").locator("visible=true")
    await expect(field).to_be_focused()
    await expect(field).to_have_attribute("aria-invalid", "true")
    await expect(field).to_have_accessible_description(f"Type {name}, exactly")
    await expect(field).to_have_value("prod")
    alert = visit.page.get_by_role("alert").filter(has_text="exactly")
    await expect(alert).to_have_text(f"Not saved. Type {name}, exactly.")
    await visit.assert_accessible()


@pytest.mark.usefixtures("shop")
@pytest.mark.parametrize("kind", FORMS)
async def test_wrong_name_is_refused_at_its_field(visit: Visit, page: Page, kind: str) -> None:
    visit.expect_fault("422")
    (form, button), name = FORMS[kind], "local" if kind == "environment" else "production"
    await form(visit)

    await page.get_by_label(f"Type {name} to confirm").locator("visible=true").fill("prod")
    await page.get_by_role("button", name=button).locator("visible=true").click()

    await assert_refused_at_the_field(visit, name)


async def test_wrong_name_in_an_emergency_is_refused_at_its_field(
    shop: Service, visit: Visit, page: Page
) -> None:
    """The form stays that of an emergency: otherwise the field of the name would be hidden."""
    await protect(shop, "production", approvals=1)
    await sign_in(visit, await shop.token(Scope.READ, Scope.WRITE, Scope.PUBLISH))
    visit.expect_fault("422")
    await visit.open_page(f"{ROOT}/flag-switch/f")
    await page.get_by_label("Message").fill("Orders fail")
    await page.get_by_label("Emergency: save without approval").check()
    await page.get_by_label("Type production to confirm").fill("prod")
    await page.get_by_role("button", name="Switch off").click()

    await assert_refused_at_the_field(visit, "production")
