"""The pages of access in a browser: a token of one's own, signing in by form and by link."""

import re

from playwright.async_api import expect

from app.access.models import Scope
from tests.conftest import Service
from tests.console.browser import WIDTHS, Visit


async def test_token_page_is_accessible_and_laid_out(service: Service, visit: Visit) -> None:
    token_id = (await service.token(Scope.READ)).split("_")[2]
    await visit.open(f"/console/tokens/{token_id}")
    await visit.page.get_by_text("Revoke", exact=True).click()

    for scheme in ("light", "dark"):
        await visit.look(scheme=scheme)
        await visit.assert_accessible()
    for width in WIDTHS:
        await visit.look(width=width)
        await visit.assert_laid_out()


async def test_token_is_created_and_revoked(service: Service, visit: Visit) -> None:
    del service
    page = visit.page
    await visit.open("/console/tokens")
    await page.get_by_role("link", name="New token").click()
    await page.get_by_label("Name").fill("release pipeline")
    await page.get_by_label(re.compile("^write")).check()
    await page.get_by_label("local", exact=True).check()
    await page.get_by_role("button", name="Create the token").click()
    await expect(page.get_by_text("Copy it now.")).to_be_visible()
    await page.get_by_role("link", name="I have copied it").click()

    await page.get_by_role("link", name="release pipeline").click()
    await page.get_by_text("Revoke", exact=True).click()
    await page.get_by_label("I want to revoke release pipeline").check()
    await page.get_by_role("button", name="Revoke the token").click()

    await expect(page.get_by_text("Every instance refuses it within a second.")).to_be_visible()


async def test_person_signs_in_with_a_token_and_out(service: Service, stranger: Visit) -> None:
    page = stranger.page
    await stranger.open("/console/sessions")
    await page.get_by_label("Token").fill(service.admin_token)
    await page.get_by_role("button", name="Sign in").click()
    await page.wait_for_url("**/console/sessions")
    await expect(page.get_by_text("this browser")).to_be_visible()

    await page.get_by_text("local admin").first.click()
    await page.get_by_role("button", name="Sign out", exact=True).first.click()

    await expect(page.get_by_role("heading", name="You are signed out")).to_be_visible()
    await page.go_back()
    await expect(page.get_by_label("Token")).to_be_visible()


async def test_form_survives_the_end_of_the_session(service: Service, visit: Visit) -> None:
    page = visit.page
    await visit.open("/console/tokens/new")
    await page.get_by_label("Name").fill("release pipeline")
    await page.get_by_label("local", exact=True).check()
    await visit.context.clear_cookies()

    visit.expect_fault("401")
    await page.get_by_role("button", name="Create the token").click()
    await expect(page.get_by_text("Your session has ended.")).to_be_visible()
    async with visit.context.expect_page() as opening:
        await page.get_by_role("link", name="Sign in").click()
    other = await opening.value
    await other.get_by_label("Token").fill(service.admin_token)
    await other.get_by_role("button", name="Sign in").click()
    await other.wait_for_url(lambda url: "sign-in" not in url)
    await page.go_back()

    await expect(page.get_by_label("Name")).to_have_value("release pipeline")
    await page.get_by_role("button", name="Create the token").click()
    await expect(page.get_by_text("Copy it now.")).to_be_visible()
    await page.get_by_role("link", name="I have copied it").click()
    await visit.open("/console/tokens/new")
    await expect(page.get_by_label("Name")).to_have_value("")
