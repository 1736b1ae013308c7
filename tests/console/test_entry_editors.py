"""The editors of settings and segments in a browser: by keyboard, and after a refusal."""

from typing import Any

from playwright.async_api import Page, expect

from tests.conftest import Service
from tests.console.browser import Visit

LOCAL = "/console/environments/local"
LIMITS: dict[str, Any] = {
    "type": "object",
    "required": ["max"],
    "properties": {"max": {"type": "integer", "maximum": 100}, "note": {"type": "string"}},
}


async def put(service: Service, key: str, value: Any, version: int = 0, **more: Any) -> None:
    headers = {"If-Match": f'"{version}"'} if version else {"If-None-Match": "*"}
    url = f"/v1/environments/local/configurations/{key}"
    async with service.client.put(url, json={"value": value, **more}, headers=headers) as answer:
        assert answer.status in (200, 201), await answer.text()


async def stored(service: Service, key: str) -> Any:
    async with service.client.get(f"/v1/environments/local/configurations/{key}") as answer:
        return (await answer.json()).get("value")


async def press(page: Page, *keys: str) -> None:
    for key in keys:
        await page.keyboard.press(key)


async def test_setting_is_created_and_undone_by_keyboard(service: Service, visit: Visit) -> None:
    page = visit.page
    await visit.open_page(f"{LOCAL}/settings")

    await press(page, "n")
    await expect(page.get_by_label("Key", exact=True)).to_be_focused()
    await page.keyboard.type("shop/size")
    await press(page, "Tab")
    await page.keyboard.type("Num")
    await expect(page.locator("#f-value")).to_have_attribute("inputmode", "decimal")
    await page.locator("#f-value").focus()
    await page.keyboard.type("12")
    await expect(page.locator("#pending")).to_contain_text("shop/size is created: 12")
    await press(page, "Control+Enter")
    await page.wait_for_url("**/settings/shop/size?saved=1")
    assert await stored(service, "shop/size") == 12

    await page.get_by_role("button", name="Undo").focus()
    await press(page, "Enter")
    await page.wait_for_url("**/*saved=2*")
    assert await stored(service, "shop/size") is None


async def test_refused_value_is_beside_its_field_and_mended(service: Service, visit: Visit) -> None:
    await put(service, "limits", {"max": 5}, schema=LIMITS)
    page = visit.page
    visit.expect_fault("status of 422")
    await visit.open_page(f"{LOCAL}/settings/limits")

    await page.get_by_label("max").fill("500")
    await page.get_by_role("button", name="Save", exact=True).click()
    await expect(page.locator("#f-value-max-error")).to_contain_text("greater than the maximum")
    await expect(page.get_by_label("max")).to_have_value("500")
    await expect(page.locator("#draft")).to_be_hidden()
    await visit.assert_accessible()
    await page.get_by_label("max").fill("50")
    await page.get_by_role("button", name="Save", exact=True).click()
    await page.wait_for_url("**/*saved=*")

    assert await stored(service, "limits") == {"max": 50}


async def test_conflict_is_shown_and_merged(service: Service, visit: Visit) -> None:
    await put(service, "limits", {"max": 5}, schema=LIMITS)
    page = visit.page
    visit.expect_fault("status of 412")
    await visit.open_page(f"{LOCAL}/settings/limits")
    await page.get_by_label("max").fill("6")
    await put(service, "limits", {"max": 5, "note": "theirs"}, 1, schema=LIMITS)
    # The banner moves the button: a click during that would miss it.
    await expect(page.get_by_text("Changed by")).to_be_visible()
    await page.wait_for_function("() => !document.querySelector('.htmx-request')")

    await page.get_by_role("button", name="Save", exact=True).click()
    await expect(page.get_by_text("Another change came first")).to_be_visible()
    await visit.assert_accessible()
    for width in (390, 1280):
        await visit.look(width=width)
        await visit.assert_laid_out()
    await page.get_by_role("button", name="Apply mine again on top").click()
    await expect(page.get_by_label("note")).to_have_value("theirs")
    await page.get_by_role("button", name="Save", exact=True).click()
    await page.wait_for_url("**/*saved=*")

    assert await stored(service, "limits") == {"max": 6, "note": "theirs"}


async def test_revealed_secret_is_gone_with_the_page(service: Service, visit: Visit) -> None:
    await put(service, "key", "hush-hush", kind="secret")
    page = visit.page
    await visit.open_page(f"{LOCAL}/settings/key")

    await page.locator("#f-value").fill("hush-new")
    await page.get_by_role("button", name="Reveal").click()
    await expect(page.locator("#secret")).to_contain_text("hush-hush")
    assert "hush" not in await page.evaluate("JSON.stringify({...sessionStorage})")
    await visit.assert_accessible()
    await page.get_by_role("link", name="Hide").click()
    await expect(page.locator("#secret")).not_to_contain_text("hush")
    await visit.open_page(f"{LOCAL}/settings")
    await page.go_back()
    await expect(page.locator("#secret")).not_to_contain_text("hush")


async def test_segment_is_edited_by_keyboard_with_its_preview(
    service: Service, visit: Visit
) -> None:
    await put(service, "beta", {"==": [{"var": "plan"}, "pro"]}, kind="segment")
    page = visit.page
    await visit.open_page(f"{LOCAL}/segments/beta")
    await expect(page.locator("#membership")).to_contain_text("0 of 10,000 sampled keys are in")

    await page.get_by_role("button", name="Condition", exact=True).focus()
    await press(page, "Enter")
    attribute = page.locator('[name="rules.0.condition.conditions.1.attribute"]')
    await expect(attribute).to_be_focused()
    await page.keyboard.type("country")
    await press(page, "Tab", "Tab")
    await page.keyboard.type("DE")
    await expect(page.locator("#pending-changes")).to_contain_text("country is DE")
    await page.locator('[name="context.plan"]').fill("pro")
    await expect(page.locator("#membership")).to_contain_text("in now, not in after saving")
    await visit.assert_accessible()
    await press(page, "Control+Enter")
    await page.wait_for_url("**/*saved=*")

    conditions = [{"==": [{"var": "plan"}, "pro"]}, {"==": [{"var": "country"}, "DE"]}]
    assert await stored(service, "beta") == {"and": conditions}


async def test_search_narrows_while_typing(service: Service, visit: Visit) -> None:
    await put(service, "mail/sender", 1)
    await put(service, "other", 1)
    page = visit.page
    await visit.open_page(f"{LOCAL}/settings")

    await press(page, "/")
    await page.keyboard.type("send")
    await expect(page.get_by_role("link", name="mail/sender")).to_be_visible()
    await expect(page.get_by_role("link", name="other")).to_have_count(0)
    await expect(page).to_have_url(f"{visit.url}{LOCAL}/settings?q=send")
