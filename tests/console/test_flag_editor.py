"""The flag editor in a browser: by keyboard, by mouse, and after a reload."""

from typing import Any

from playwright.async_api import Page, expect

from tests.conftest import Service
from tests.console.browser import Visit
from tests.factories import flag

KEY = "shop/checkout"
EDITOR = f"/console/environments/local/flags/{KEY}"


async def put(service: Service, **members: Any) -> None:
    body = {"kind": "flag", "value": flag(defaultVariant="off", **members)}
    path = f"/v1/environments/local/configurations/{KEY}"
    async with service.client.put(path, json=body, headers={"If-None-Match": "*"}) as answer:
        assert answer.status == 201, await answer.text()


async def stored(service: Service) -> Any:
    path = f"/v1/environments/local/configurations/{KEY}"
    async with service.client.get(path) as answer:
        return (await answer.json())["value"]


def field(page: Page, name: str) -> Any:
    return page.locator(f'[name="{name}"]')


async def test_rule_is_written_and_saved_by_keyboard(service: Service, visit: Visit) -> None:
    await put(service)
    page = visit.page
    await visit.open_page(EDITOR)

    await page.get_by_role("button", name="Rule", exact=True).focus()
    await page.keyboard.press("Enter")
    await expect(field(page, "rules.0.condition.attribute")).to_be_focused()
    await page.keyboard.type("email")
    await page.keyboard.press("Tab")
    await page.keyboard.type("ends")
    await expect(field(page, "rules.0.condition.operator")).to_have_value("ends_with")
    await page.keyboard.press("Tab")
    await page.keyboard.type("@example.org")
    await expect(page.locator("#pending-changes")).to_contain_text(
        "Rule 1 is added: if email ends with @example.org, serve on"
    )
    await page.keyboard.press("Control+Enter")
    await page.wait_for_url("**/*saved=*")

    rule = {"if": [{"ends_with": [{"var": "email"}, "@example.org"]}, "on"]}
    assert (await stored(service))["targeting"] == rule


async def test_save_stays_in_view_below_many_changes(service: Service, visit: Visit) -> None:
    rules = [part for n in range(8) for part in ({"==": [{"var": "plan"}, f"plan-{n}"]}, "on")]
    await put(service, targeting={"if": rules})
    page = visit.page
    await page.set_viewport_size({"width": 1280, "height": 850})
    await visit.open_page(EDITOR)

    for number in range(8):
        await field(page, f"rules.{number}.condition.value").fill(f"team-{number}")

    await expect(page.locator("#pending-changes")).to_contain_text("team-7")
    await expect(page.get_by_role("button", name="Save to local")).to_be_in_viewport(ratio=1)
    await expect(page.get_by_label("Message")).to_be_in_viewport(ratio=1)


async def test_attributes_of_sampled_keys_are_cleared(service: Service, visit: Visit) -> None:
    await put(service, targeting={"if": [{"==": [{"var": "plan"}, "pro"]}, "on"]})
    page = visit.page
    await visit.open_page(EDITOR)
    results = page.locator("#preview-results")

    await page.get_by_text("Attributes of the sampled keys", exact=True).click()
    await field(page, "sample-context").fill('{"plan": "pro"}')
    await expect(results).to_contain_text("Each sampled key has plan = pro.")
    await page.get_by_role("button", name="Clear the attributes").click()

    await expect(results).to_contain_text("which the sampled keys do not have")
    await visit.open_page(EDITOR)
    await expect(results).to_contain_text("which the sampled keys do not have")


async def test_added_conditions_get_the_focus(service: Service, visit: Visit) -> None:
    await put(service, targeting={"if": [{"var": "beta"}, "on"]})
    page = visit.page
    await visit.open_page(EDITOR)

    for count in (1, 2):
        await page.get_by_role("button", name="Condition", exact=True).click()
        place = f"rules.0.condition.conditions.{count}.attribute"
        await expect(field(page, place)).to_be_focused()
    await page.get_by_role("button", name="Group", exact=True).click()
    await expect(
        field(page, "rules.0.condition.conditions.3.conditions.0.attribute")
    ).to_be_focused()


async def test_split_always_adds_up(service: Service, visit: Visit) -> None:
    await put(service)
    page = visit.page
    await visit.open_page(EDITOR)

    await field(page, "otherwise.serve").select_option("split")
    first, second = (field(page, f"otherwise.shares.{n}.percent") for n in (0, 1))
    await first.fill("10")
    await expect(second).to_have_value("90")
    bar = await page.locator(".rule-last .bar").bounding_box()
    assert bar is not None
    await page.mouse.move(bar["x"] + bar["width"] * 0.1, bar["y"] + 4)
    await page.mouse.down()
    await page.mouse.move(bar["x"] + bar["width"] * 0.4, bar["y"] + 4, steps=4)
    await page.mouse.up()

    await expect(first).to_have_value("40")
    await expect(second).to_have_value("60")


async def test_rules_move_by_keyboard_and_pointer(service: Service, visit: Visit) -> None:
    rules = [part for name in "abc" for part in ({"var": name}, "on")]
    await put(service, targeting={"if": rules})
    page = visit.page
    await visit.open_page(EDITOR)
    attributes = page.locator('[name$=".attribute"]')

    await page.get_by_role("button", name="Move rule 1 down").click()
    await expect(attributes.first).to_have_value("b")
    await expect(page.get_by_role("button", name="Move rule 2 down")).to_be_focused()
    handle = page.get_by_role("button", name="Drag rule 3")
    await handle.focus()
    await page.keyboard.press("Alt+ArrowUp")
    await expect(field(page, "rules.1.condition.attribute")).to_have_value("c")
    box = await page.get_by_role("button", name="Drag rule 2").bounding_box()
    top = await page.locator(".rule").first.bounding_box()
    assert box is not None
    assert top is not None
    await page.mouse.move(box["x"] + 8, box["y"] + 8)
    await page.mouse.down()
    await page.mouse.move(box["x"] + 8, top["y"] + 2, steps=6)
    await page.mouse.up()

    await expect(field(page, "rules.0.condition.attribute")).to_have_value("c")
    await expect(page.locator("#pending-changes")).to_contain_text("moves")


async def test_draft_survives_a_reload_and_ends_with_a_save(service: Service, visit: Visit) -> None:
    await put(service)
    page = visit.page
    await visit.open_page(EDITOR)
    await field(page, "description").fill("The new checkout")
    await page.get_by_role("button", name="Rule", exact=True).click()
    await field(page, "rules.0.condition.attribute").fill("beta")

    await page.reload()
    await expect(field(page, "rules.0.condition.attribute")).to_have_value("beta")
    await expect(field(page, "description")).to_have_value("The new checkout")
    await field(page, "rules.0.condition.operator").select_option("set")
    await expect(field(page, "rules.0.condition.value")).to_have_count(0)
    await page.get_by_role("button", name="Save to local").click()
    await page.wait_for_url("**/*saved=*")

    await expect(page.locator("#pending-changes")).to_contain_text("None.")


async def test_switch_opens_beside_the_flag(service: Service, visit: Visit) -> None:
    await put(service, targeting={"if": [{"var": "beta"}, "on"]})
    page = visit.page
    await visit.open_page(EDITOR)

    await page.get_by_role("switch").click()
    await page.get_by_role("textbox", name="Message optional").last.focus()
    await expect(page.get_by_role("heading", name="Switch off in local")).to_be_visible()
    await visit.assert_accessible()
    await page.get_by_role("button", name="Switch off").click()
    await page.wait_for_url("**/*saved=*")

    assert await stored(service) == flag(defaultVariant="off")


async def test_focus_stays_near_a_removed_or_moved_part(service: Service, visit: Visit) -> None:
    rules = [part for name in "ab" for part in ({"var": name}, "on")]
    await put(service, targeting={"if": rules})
    page = visit.page
    await visit.open_page(EDITOR)

    await page.get_by_role("button", name="Move rule 2 up").focus()
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("button", name="Move rule 1 down")).to_be_focused()
    await page.get_by_role("button", name="Remove rule 2").focus()
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("button", name="Rule", exact=True)).to_be_focused()
    await page.get_by_role("button", name="Variant", exact=True).click()
    await expect(field(page, "variants.2.name")).to_be_focused()
    await page.get_by_role("button", name="Save to local").click()
    await expect(page.get_by_role("alert").filter(has_text="Not saved.")).to_be_visible()
    await expect(field(page, "variants.2.name")).to_be_focused()
    visit.expect_fault("422")


async def test_refused_save_leads_to_the_wrong_field(service: Service, visit: Visit) -> None:
    await put(service)
    page = visit.page
    await visit.open_page(f"{EDITOR}?saved=1")
    await expect(page.locator("#saved")).to_be_visible()
    attribute = field(page, "rules.0.condition.attribute")

    await page.get_by_role("button", name="Rule", exact=True).click()
    await expect(attribute).to_be_focused()
    await expect(page.locator("#flag-form .field-error")).to_have_count(0)
    await field(page, "rules.0.condition.value").fill("DE")
    await page.keyboard.press("Control+Enter")
    await page.keyboard.type("AT")

    await expect(page.get_by_role("link", name="Rule 1: attribute")).to_be_visible()
    await expect(attribute).to_be_focused()
    await expect(page.locator("#saved")).to_be_hidden()
    typed = await field(page, "rules.0.condition.value").input_value()
    assert typed + await attribute.input_value() == "DEAT"
    await attribute.fill("country")
    await expect(page.locator("#flag-form .field-error")).to_have_count(0)
    visit.expect_fault("422")
