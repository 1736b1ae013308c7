"""The tools of every page: palette, shortcuts, colours, live updates, drafts."""

from typing import Any

import pytest
from playwright.async_api import Page, expect

from app.access.guard import TOKENS
from app.access.models import Scope
from tests.conftest import Service
from tests.console import sample
from tests.console.browser import Visit
from tests.console.conftest import sign_in

FLAGS = f"/console/environments/{sample.ENVIRONMENT}/flags"
FLAG = f"{FLAGS}/{sample.FLAG}"

pytestmark = pytest.mark.usefixtures("filled")


async def test_palette_leads_to_a_flag_by_keys(visit: Visit, page: Page) -> None:
    await visit.open_page(FLAGS)
    await page.keyboard.press("Control+k")
    await page.keyboard.type("newFlow")
    option = page.get_by_role("option", name=sample.FLAG)
    await expect(option).to_have_attribute("aria-selected", "true")
    await visit.assert_accessible()

    await page.keyboard.press("Enter")
    await page.wait_for_url(f"**{FLAG}")


async def test_skip_link_leads_to_the_button_of_a_rule(visit: Visit, page: Page) -> None:
    await visit.open_page(FLAG)
    for _ in range(3):
        await page.keyboard.press("Tab")
    await page.keyboard.press("Enter")

    await expect(page.get_by_role("button", name="Rule", exact=True)).to_be_focused()


async def test_head_of_a_flag_names_the_last_author(visit: Visit, page: Page) -> None:
    await visit.open_page(FLAG)

    await expect(page.locator("#last-author")).to_have_text("by Amina Odhiambo")


async def test_palette_moves_its_selection_by_keys(visit: Visit, page: Page) -> None:
    await visit.open_page(FLAGS)
    await page.keyboard.press("Control+k")
    options = page.locator("#palette").get_by_role("option")
    await expect(options.first).to_have_attribute("aria-selected", "true")

    await page.keyboard.press("ArrowUp")
    await expect(options.last).to_have_attribute("aria-selected", "true")
    await page.keyboard.press("ArrowDown")
    await page.keyboard.press("ArrowDown")
    await expect(options.nth(1)).to_have_attribute("aria-selected", "true")
    await page.keyboard.press("Escape")
    await expect(page.locator("#palette")).to_be_hidden()


async def test_question_mark_shows_the_shortcuts(visit: Visit, page: Page) -> None:
    await visit.open_page(FLAG)
    await page.keyboard.press("?")

    await expect(page.get_by_role("dialog", name="Keyboard shortcuts")).to_be_visible()
    await visit.assert_accessible()
    await page.keyboard.press("Escape")
    await page.keyboard.press("g")
    await page.keyboard.press("f")
    await page.wait_for_url(f"**{FLAGS}")


async def test_chosen_colours_are_those_of_the_next_page(visit: Visit, page: Page) -> None:
    await visit.look(scheme="light")
    await visit.open_page(FLAGS)
    await page.locator(".header details.menu-end > summary").click()
    await page.get_by_role("button", name="Dark").click()
    dark = await _background(page)

    await visit.open_page(FLAG)
    assert await _background(page) == dark
    await page.locator(".header details.menu-end > summary").click()
    await page.get_by_role("button", name="System").click()
    assert await _background(page) != dark


async def _background(page: Page) -> str:
    return str(await page.evaluate("() => getComputedStyle(document.body).backgroundColor"))


async def test_open_page_says_who_changed_it(visit: Visit, page: Page, filled: Service) -> None:
    await visit.open_page(f"{FLAGS}/ops/read-only")
    await _put(filled, "another/flag")
    await _put(filled, "ops/read-only", targeting={"if": [True, "on"]})

    notice = page.locator("#live")
    await expect(notice).to_contain_text("Changed by local admin now: Why ops/read-only")
    await expect(notice).to_contain_text("ops/read-only: Switched on")
    # An open page must not extend its session.
    asked = [request for request in visit.requests if request.url.endswith("/summary")]
    assert [request.headers.get("x-background") for request in asked] == ["1"]
    await visit.assert_accessible()
    await notice.get_by_role("button", name="Show").click()
    await expect(notice).to_be_hidden()


async def test_open_list_says_that_another_key_changed(
    visit: Visit, page: Page, filled: Service
) -> None:
    await visit.open_page(FLAGS)
    await _put(filled, "third/flag")

    await expect(page.locator("#live")).to_contain_text("Why third/flag")


async def test_draft_of_a_flag_survives_the_end_of_the_session(
    stranger: Visit, filled: Service
) -> None:
    page = stranger.page
    token = await filled.token(Scope.READ, Scope.WRITE)
    await sign_in(stranger, token)
    await stranger.open_page(FLAG)
    await page.get_by_label("Message").fill("Half an hour of work")
    await page.get_by_role("button", name="Rule", exact=True).click()
    await expect(page.get_by_role("heading", name="Rule 3")).to_be_visible()

    stranger.expect_fault("EventSource|Failed to load resource")
    await filled.revoke(token)
    await filled.app[TOKENS].refresh()
    await expect(page.locator("#signed-out")).to_be_visible()
    await sign_in(stranger, filled.admin_token)
    await stranger.open_page(FLAG)

    await expect(page.locator("#draft")).to_be_visible()
    await expect(page.get_by_label("Message")).to_have_value("Half an hour of work")
    await expect(page.get_by_role("heading", name="Rule 3")).to_be_visible()


async def _put(service: Service, key: str, **members: Any) -> None:
    path = f"/v1/environments/{sample.ENVIRONMENT}/configurations/{key}"
    async with service.client.get(path) as answer:
        version = (await answer.json())["version"] if answer.status == 200 else 0
    value = {"state": "ENABLED", "variants": {"on": True, "off": False}, "defaultVariant": "off"}
    condition = {"If-Match": f'"{version}"'} if version else {"If-None-Match": "*"}
    body = {"kind": "flag", "value": value | members, "message": f"Why {key}"}
    async with service.client.put(path, json=body, headers=condition) as answer:
        assert answer.status in {200, 201}, await answer.text()
