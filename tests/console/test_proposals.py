"""A protected change in real browsers: its author, a reviewer, and an emergency."""

import re
from typing import Any

from playwright.async_api import Browser, Page, expect

from app.access.models import Scope
from tests.api.configuration.proposal_calls import protect, put, write
from tests.conftest import Service
from tests.console.browser import WIDTHS, Visit, visiting
from tests.console.conftest import sign_in
from tests.factories import flag as definition
from tests.waiting import until

MEMBER = (Scope.READ, Scope.WRITE, Scope.APPROVE)
FLAG = definition(defaultVariant="on")
OFF = definition(defaultVariant="off")


async def _stored(service: Service) -> Any:
    path = "/v1/environments/staging/configurations/checkout"
    async with service.client.get(path) as answer:
        return (await answer.json())["value"]


async def _press(page: Page, name: str) -> None:
    await page.get_by_role("button", name=name, exact=True).click()


async def test_save_without_the_scope_write_becomes_a_proposal(
    service: Service, browser: Browser
) -> None:
    await write(service, put("checkout", FLAG, kind="flag"))
    async with visiting(browser, service.url) as author:
        page = author.page
        await sign_in(author, await service.token(Scope.READ, Scope.PROPOSE))
        await author.open("/console/environments/staging/flags/checkout")
        await expect(page.get_by_text("You may propose changes here.")).to_be_visible()
        await expect(page.get_by_text("Read only.")).to_have_count(0)

        await expect(page.get_by_role("button", name="Discard")).to_be_in_viewport(ratio=1)

        await page.locator('[name="otherwise.serve"]').select_option("off")
        await page.get_by_role("button", name="Propose the change").click()

        await expect(page.get_by_text("Not live yet.")).to_be_visible()
        assert await _stored(service) == FLAG


async def test_change_is_reviewed_edited_scheduled_and_applied(
    service: Service, visit: Visit, browser: Browser
) -> None:
    await write(service, put("checkout", FLAG, kind="flag"))
    await protect(service, approvals=1)
    author = visit.page
    async with visiting(browser, service.url) as other:
        reviewer = other.page
        await sign_in(other, await service.token(*MEMBER))

        await visit.open("/console/environments/staging/flag-switch/checkout")
        await author.get_by_role("main").get_by_role("button", name="Propose to switch off").click()
        await expect(author.get_by_text("Not live yet.")).to_be_visible()

        await reviewer.goto(f"{service.url}/console/proposals")
        await expect(reviewer.get_by_role("navigation", name="Pages")).to_contain_text(
            "1 in your inbox"
        )
        for width in WIDTHS:
            await other.look(width=width)
            await other.assert_laid_out()
        await reviewer.get_by_role("link", name="Change checkout").first.click()
        await _press(reviewer, "Try")
        await expect(reviewer.get_by_text("checkout gets off")).to_be_visible()
        await reviewer.get_by_label("What must change").fill("Say why")
        await _press(reviewer, "Reject")
        await expect(reviewer.get_by_text("Rejected:")).to_be_visible()

        await author.reload()
        await author.get_by_role("link", name="Edit").click()
        await author.get_by_label("Title").fill("Checkout off")
        await author.get_by_label(re.compile("^Message")).fill("Payments fail")
        await _press(author, "Save the proposal")
        await _press(author, "Submit for approval")

        await reviewer.reload()
        await _press(reviewer, "Approve")
        await expect(reviewer.get_by_text("approved", exact=True).first).to_be_visible()

        await author.reload()
        # The field has whole minutes, and the proposal must not be applied by itself meanwhile.
        moment = await author.evaluate(
            "() => { const soon = new Date(Date.now() + 600e3);"
            " soon.setMinutes(soon.getMinutes() - soon.getTimezoneOffset());"
            " return soon.toISOString().slice(0, 16); }"
        )
        await author.get_by_label("Apply at").fill(moment)
        await _press(author, "Schedule")
        await expect(author.get_by_text("scheduled", exact=True).first).to_be_visible()
        await _press(author, "Apply now")
        await expect(author.get_by_text("Applied by")).to_be_visible()
        await until(lambda: _is_off(service))
        await author.get_by_role("link", name="revision 3 of staging").click()
        await expect(author.get_by_role("heading", name="Payments fail")).to_be_visible()
        assert other.unexpected == []


async def _is_off(service: Service) -> bool:
    return bool((await _stored(service))["defaultVariant"] == "off")


async def test_emergency_is_marked_in_the_history(service: Service, visit: Visit) -> None:
    await write(service, put("checkout", FLAG, kind="flag"))
    await protect(service, approvals=2)
    page = visit.page
    await sign_in(visit, await service.token(*MEMBER, Scope.PUBLISH))
    await visit.open("/console/environments/staging/flag-switch/checkout")
    await page.get_by_role("main").get_by_role("button", name="Switch off").click()

    await page.get_by_text("Emergency", exact=True).click()
    await page.get_by_label("Reason").fill("Payments fail")
    await _press(page, "Apply without approval")
    await page.get_by_role("link", name="revision 3 of staging").click()

    await expect(page.get_by_text("emergency, without approval")).to_be_visible()


async def test_emergency_changes_the_words_of_a_review(service: Service, visit: Visit) -> None:
    await write(service, put("checkout", FLAG, kind="flag"))
    await protect(service, approvals=1)
    page = visit.page
    await sign_in(visit, await service.token(*MEMBER, Scope.PUBLISH))
    await visit.open("/console/environments/staging/flag-actions?action=switch-off&flag=checkout")
    title = page.get_by_role("heading", level=1)
    change = "witch off checkout in staging"

    await expect(title).to_have_text(f"Propose to s{change}", use_inner_text=True)
    await page.get_by_label("Emergency").check()
    await expect(title).to_have_text(f"S{change}", use_inner_text=True)


async def test_pages_of_a_proposal_are_accessible(service: Service, visit: Visit) -> None:
    await write(service, put("checkout", FLAG, kind="flag"), put("a", 1))
    await protect(service, approvals=1)
    operations = [put("checkout", OFF, 1, kind="flag"), put("a", 2, 1)]
    body = {"title": "Two changes", "environment": "staging", "operations": operations}
    async with service.client.post("/v1/proposals", json=body) as answer:
        id_ = (await answer.json())["id"]
    await write(service, put("b", 1), environment="local")

    for path in (f"/console/proposals/{id_}", f"/console/proposals/{id_}/edit"):
        await visit.open(path)
        for scheme in ("light", "dark"):
            await visit.look(scheme=scheme)
            await visit.assert_accessible()
        for width in WIDTHS:
            await visit.look(width=width)
            await visit.assert_laid_out()
