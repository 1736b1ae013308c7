"""The preview beside the editor, and the wait for a first evaluation, in a real browser."""

import re
from typing import Any

from playwright.async_api import Page, expect

from app.configuration.snapshots.reading import FOLLOWER
from tests.conftest import Service
from tests.console.browser import Visit
from tests.factories import flag

PAGE = "/console/environments/local/flags/search"
SPLIT = {"fractional": [["on", 10], ["off", 90]]}


async def put(service: Service, key: str, value: Any) -> None:
    path = f"/v1/environments/local/configurations/{key}"
    body = {"kind": "flag", "value": value}
    async with service.client.put(path, json=body, headers={"If-None-Match": "*"}) as answer:
        assert answer.status == 201, await answer.text()
    await service.app[FOLLOWER].refresh()


async def _share(page: Page, percent: str) -> None:
    """Type the share of the first part, and complete the other one."""
    for number, text in enumerate((percent, str(100 - int(percent)))):
        field = page.locator(f'input[name="otherwise.shares.{number}.percent"]')
        await field.fill(text)
        await field.press("Tab")


async def test_preview_follows_the_draft_and_becomes_a_guard(
    service: Service, visit: Visit
) -> None:
    await put(service, "search", flag(defaultVariant="off", targeting=SPLIT))
    page = visit.page
    await visit.open(PAGE)
    results = page.locator("#preview-results")
    await expect(results).to_contain_text("none changes")

    await _share(page, "60")
    await expect(results).to_contain_text(re.compile(r"[45],\d{3} change"))
    await page.get_by_label("targetingKey", exact=True).fill("ada")
    await expect(results).to_contain_text("targetingKey ada")
    await page.get_by_role("button", name="Keep as a guard").click()
    await expect(results).to_contain_text("Holds")
    await visit.assert_accessible()
    await page.get_by_role("button", name="Save to local").click()
    await page.wait_for_url(lambda url: "saved=" in url)
    assert visit.dialogs == []

    await expect(results).to_contain_text("targetingKey ada")
    async with service.client.get("/v1/environments/local/configurations/search") as answer:
        value = (await answer.json())["value"]
    assert value["targeting"] == {"fractional": [["on", 60], ["off", 40]]}
    assert [guard["context"] for guard in value["guards"]] == [{"targetingKey": "ada"}]


async def test_contexts_are_edited_without_losing_the_draft(service: Service, visit: Visit) -> None:
    await put(service, "search", flag(defaultVariant="off", targeting=SPLIT))
    page = visit.page
    await visit.open(PAGE)
    form = page.locator("#preview-form")
    await expect(form.locator("fieldset")).to_have_count(1)

    await page.get_by_role("button", name="Add a context").click()
    await expect(form.locator("fieldset")).to_have_count(2)
    await page.get_by_role("button", name="Edit context 2 as JSON").click()
    await page.get_by_label("Context 2 as JSON", exact=True).fill('{"targetingKey": "bob"')
    await expect(page.locator("#preview-results")).to_contain_text("Context 2: context: must be")
    await page.get_by_label("Context 2 as JSON", exact=True).fill('{"targetingKey": "bob"}')
    await expect(page.locator("#preview-results")).to_contain_text("targetingKey bob")
    await visit.open(PAGE)

    await expect(page.get_by_label("Context 2 as JSON", exact=True)).to_have_value(
        '{"targetingKey": "bob"}'
    )
    await expect(page.locator("#preview-results")).to_contain_text("targetingKey bob")


async def test_first_evaluation_turns_green_by_itself(service: Service, visit: Visit) -> None:
    await put(service, "search", flag(defaultVariant="off"))
    await visit.open(f"{PAGE}?view=use")
    notice = visit.page.locator("#first-evaluation")
    await expect(notice).to_contain_text("Waiting for the first evaluation")

    path = "/v1/environments/local/ofrep/v1/evaluate/flags/search"
    async with service.client.post(path, json={}) as answer:
        assert answer.status == 200

    await expect(notice).to_contain_text("Evaluated once")
    assert "hx-trigger" not in (await notice.evaluate("element => element.outerHTML"))


async def test_filled_attribute_gets_an_empty_row_and_an_outcome(
    service: Service, visit: Visit
) -> None:
    rule = {"if": [{"==": [{"var": "plan"}, "pro"]}, "on"]}
    await put(service, "search", flag(defaultVariant="off", targeting=rule))
    page = visit.page
    await visit.open(PAGE)
    outcome = page.locator("#context-0-outcome")
    await expect(outcome).to_have_text("Gets off")

    await page.get_by_label("plan", exact=True).fill("pro")
    await page.get_by_label("Another attribute of context 1").fill("country")
    await page.get_by_label("Its value").press_sequentially("KE")

    await expect(outcome).to_have_text("Gets on")
    await expect(page.get_by_label("Another attribute of context 1")).to_have_count(2)
    await expect(page.get_by_label("Its value").last).to_have_value("")
