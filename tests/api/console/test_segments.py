"""Pages of segments: list, editor, save, conflict, who is in, users, deletion."""

import re
from typing import Any

import pytest

from app.access.models import Scope
from tests.api.console.page_forms import changed, form_fields
from tests.api.console.test_settings import LOCAL, get, post, put, stored
from tests.conftest import Service
from tests.factories import flag

BETA: dict[str, Any] = {
    "or": [
        {"==": [{"var": "plan"}, "pro"]},
        {"!": [{"in": [{"var": "country"}, ["DE", "AT"]]}]},
    ]
}
COUNTRIES = "rules__0__condition__conditions__1__value"


async def put_segment(service: Service, key: str, value: Any, version: int = 0) -> None:
    await put(service, key, value, version, kind="segment")


async def put_user(service: Service, key: str, *segments: str) -> None:
    any_of = {"or": [{"$ref": segment} for segment in segments]}
    value = flag(defaultVariant="off", targeting={"if": [any_of, "on"]})
    await put(service, key, value, kind="flag")


async def read(service: Service, key: str) -> Any:
    return form_fields(await get(service, f"/segments/{key}"), "segment-form")


async def save(service: Service, key: str, fields: Any, status: int = 303) -> str:
    return await post(service, f"/segments-draft/{key}", [*fields, ("action", "save")], status)


async def test_list_says_who_is_in(service: Service) -> None:
    await put_segment(service, "beta", BETA)
    await put_segment(service, "odd", {"some": [{"var": "x"}, {"var": ""}]})

    page = await get(service, "/segments")

    assert "plan is pro or not (country is one of DE, AT)" in page
    assert "some" in page
    assert "No segment matches" in await get(service, "/segments?q=zz")


async def test_empty_list_says_what_to_do(service: Service) -> None:
    assert "Create the first segment" in await get(service, "/segments")


@pytest.mark.parametrize(
    "value",
    [
        BETA,
        {"in": ["@example.org", {"var": "email"}]},
        {"and": [{"$ref": "staff"}, {"sem_ver": [{"var": "app"}, ">=", "1.2.0"]}]},
        {"!": {"starts_with": [{"var": "id"}, "test-"]}},
        {"some": [{"var": "groups"}, {"==": [{"var": ""}, "x"]}]},
    ],
)
async def test_unchanged_segment_writes_nothing(service: Service, value: Any) -> None:
    await put_segment(service, "staff", {"==": [{"var": "a"}, 1]})
    await put_segment(service, "s", value)

    page = await save(service, "s", await read(service, "s"), 422)

    assert "Nothing has changed." in page
    assert (await stored(service, "s"))["value"] == value


async def test_pasted_list_is_saved_without_duplicates(service: Service) -> None:
    await put_segment(service, "beta", BETA)
    fields = changed(await read(service, "beta"), **{COUNTRIES: "DE\r\n AT \r\n\r\nFR\r\nDE"})

    panel = await post(service, "/segments-draft/beta?part=pending", fields, 200, part=True)
    assert "FR" in panel
    form = await post(service, "/segments-draft/beta", fields, 200, part=True)
    assert "3 values, 1 duplicate left out" in form

    assert await save(service, "beta", fields) == f"{LOCAL}/segments/beta?saved=2"
    value = (await stored(service, "beta"))["value"]
    assert value["or"][1] == {"!": [{"in": [{"var": "country"}, ["DE", "AT", "FR"]]}]}


async def test_new_segment_is_created_by_buttons(service: Service) -> None:
    fields = form_fields(await get(service, "/segments-new"), "segment-form")
    fields = changed(fields, key="vip", rules__0__condition__attribute="plan")

    add = [*fields, ("action", "add rules.0.condition")]
    fields = form_fields(await post(service, "/segments-draft", add, 200), "segment-form")
    fields = changed(
        fields,
        rules__0__condition__conditions__0__value="gold",
        rules__0__condition__conditions__1__attribute="age",
        rules__0__condition__conditions__1__operator="gte",
        rules__0__condition__conditions__1__type="number",
        rules__0__condition__conditions__1__value="18",
    )
    address = await post(service, "/segments-draft", [*fields, ("action", "save")])

    assert address == f"{LOCAL}/segments/vip?saved=1"
    entry = await stored(service, "vip")
    assert entry["kind"] == "segment"
    assert entry["value"] == {
        "and": [{"==": [{"var": "plan"}, "gold"]}, {">=": [{"var": "age"}, 18]}]
    }


async def test_single_reference_becomes_a_group(service: Service) -> None:
    await put_segment(service, "beta", BETA)
    fields = form_fields(await get(service, "/segments-new"), "segment-form")
    for action in ("add-segment rules.0.condition", "remove rules.0.condition.conditions.0"):
        page = await post(service, "/segments-draft", [*fields, ("action", action)], 200)
        fields = form_fields(page, "segment-form")

    fields = changed(fields, key="all", rules__0__condition__segment="beta")
    await post(service, "/segments-draft", [*fields, ("action", "save")])

    assert (await stored(service, "all"))["value"] == {"and": [{"$ref": "beta"}]}


async def test_incomplete_condition_is_marked_and_not_saved(service: Service) -> None:
    fields = form_fields(await get(service, "/segments-new"), "segment-form")

    page = await post(service, "/segments-draft", [*fields, ("action", "save")], 422)

    assert "Complete the fields that are marked." in page
    assert "attribute must not be empty" in page


@pytest.mark.parametrize(
    ("key", "segment", "status", "text"),
    [
        ("taken", "taken", 412, "is at version 1"),
        ("a b", "taken", 422, "must begin with a letter"),
        ("new", "none", 422, "none"),
    ],
)
async def test_refusal_of_the_api_keeps_the_draft(
    service: Service, key: str, segment: str, status: int, text: str
) -> None:
    await put_segment(service, "taken", BETA)
    fields = form_fields(await get(service, "/segments-new"), "segment-form")
    add = [*fields, ("action", "add-segment rules.0.condition")]
    fields = form_fields(await post(service, "/segments-draft", add, 200), "segment-form")
    fields = changed(
        fields,
        key=key,
        rules__0__condition__conditions__0__attribute="plan",
        rules__0__condition__conditions__1__segment=segment,
    )

    page = await post(service, "/segments-draft", [*fields, ("action", "save")], status)

    assert text in page
    posted = dict(form_fields(page, "segment-form"))
    assert posted["rules.0.condition.conditions.0.attribute"] == "plan"


async def test_advanced_segment_opens_as_json_with_reason(service: Service) -> None:
    await put_segment(service, "odd", {"some": [{"var": "x"}, {"==": [{"var": ""}, 1]}]})

    page = await get(service, "/segments/odd")
    assert "Shown as JSON, because the form cannot show this condition" in page

    fields = changed(form_fields(page, "segment-form"), json='{"==": [{"var": "x"}, 2]')
    assert "at line 1, column" in await save(service, "odd", fields, 422)
    fields = changed(fields, json='{"==": [{"var": "x"}, 2]}')
    view = [*fields, ("action", "view rules")]
    page = await post(service, "/segments-draft/odd", view, 200)
    assert dict(form_fields(page, "segment-form"))["rules.0.condition.attribute"] == "x"


async def test_conflict_merges_on_request(service: Service) -> None:
    await put_segment(service, "beta", BETA)
    fields = changed(await read(service, "beta"), description="Mine")
    await put_segment(service, "beta", {"==": [{"var": "plan"}, "team"]}, 1)

    page = await save(service, "beta", fields, 412)
    assert "Another change came first" in page

    page = await post(service, "/segments-draft/beta", [*fields, ("action", "rebase")], 200)
    await save(service, "beta", form_fields(page, "segment-form"))
    entry = await stored(service, "beta")
    assert (entry["value"], entry["description"]) == ({"==": [{"var": "plan"}, "team"]}, "Mine")


async def test_preview_counts_who_is_in_before_and_after(service: Service) -> None:
    await put_segment(service, "beta", {"==": [{"var": "plan"}, "pro"]})
    await put_user(service, "feature", "beta")
    fields = changed(await read(service, "beta"), rules__0__condition__value="team")

    async def ask(**context: str) -> str:
        typed = [(f"context.{name}", value) for name, value in context.items()]
        path = "/segments-preview/beta"
        page = await post(service, path, [*fields, *typed], 200, part=True)
        return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page))

    team, pro, free = await ask(plan="team"), await ask(plan="pro"), await ask(plan="free")

    assert "not in now, in after saving" in team
    assert "10,000 of 10,000 sampled keys are in; now 0. 10,000 change." in team
    assert "feature : 10,000 of 10,000 keys change" in team
    assert "in now, not in after saving" in pro
    assert "This context is not in 0 of 10,000 sampled keys are in." in free
    assert "no sampled key changes" in free


async def test_preview_takes_contexts_as_json(service: Service) -> None:
    await put_segment(service, "beta", BETA)
    fields = await read(service, "beta")

    async def ask(contexts: str) -> str:
        path = "/segments-preview/beta"
        return await post(service, path, [*fields, ("contexts", contexts)], 200, part=True)

    page = await ask('[{"plan": "pro"}, {"plan": "x", "country": "DE"}]')
    assert page.count("badge-on") == 1
    assert "must be a JSON object, or a list of objects" in await ask("[1]")
    assert "must be at most 20" in await ask("[" + ",".join(["{}"] * 21) + "]")
    assert "at line 1, column" in await ask("{")


async def test_users_are_linked_and_block_the_deletion(service: Service) -> None:
    await put_segment(service, "staff", {"==": [{"var": "a"}, 1]})
    await put_segment(service, "all", {"and": [{"$ref": "staff"}]})
    await put_user(service, "direct", "staff")
    await put_user(service, "indirect", "all")

    page = await get(service, "/segments/staff")
    for path in ("segments/all", "flags/direct", "flags/indirect"):
        assert f"{LOCAL}/{path}" in page
    assert "through another segment" in page
    assert "It can be deleted when nothing refers to it." in page

    refused = await post(service, "/segments-delete/staff", [("version", "1")], 409)
    assert "The segment is still used: all refers to staff; direct refers to staff." in refused


async def test_unused_segment_is_deleted(service: Service) -> None:
    await put_segment(service, "beta", BETA)

    address = await post(service, "/segments-delete/beta", [("version", "1")])

    assert address == f"{LOCAL}/segments?saved=2"


async def test_reader_previews_but_cannot_save(service: Service) -> None:
    await put_segment(service, "beta", BETA)
    token = await service.token(Scope.READ)

    async with service.signed_in(token) as browser:
        async with browser.get(f"{LOCAL}/segments/beta") as answer:
            page = await answer.text()
        assert "if plan is pro or not (country is one of DE, AT)" in page
        assert 'id="segment-form"' not in page
        fields = [*form_fields(page, "preview-form"), ("context.plan", "pro")]
        async with browser.post(f"{LOCAL}/segments-preview/beta", data=fields) as answer:
            assert "badge-on" in await answer.text()
        save_fields = {"version": "1", "view": "json", "json": "{}", "action": "save"}
        async with browser.post(f"{LOCAL}/segments-draft/beta", data=save_fields) as answer:
            assert answer.status == 403
    assert (await stored(service, "beta"))["version"] == 1


async def test_past_shows_the_condition_of_then(service: Service) -> None:
    await put_segment(service, "beta", BETA)
    await put_segment(service, "beta", {"==": [{"var": "plan"}, "team"]}, 1)

    page = await get(service, "/segments/beta?revision=1")

    assert "if plan is pro or not" in page
    assert 'id="segment-form"' not in page


async def test_segment_of_ten_thousand_values_stays_usable(service: Service) -> None:
    values = [f"user-{number:05}-{number:08}" for number in range(9_000)]
    await put_segment(service, "big", {"in": [{"var": "id"}, values]})

    fields = await read(service, "big")
    added = {"rules__0__condition__value": "\n".join([*values, "new", values[0]])}
    fields = changed(fields, **added)
    typed = ("context.id", "new")
    membership = await post(service, "/segments-preview/big", [*fields, typed], 200, part=True)
    assert "after saving" in membership
    await save(service, "big", fields)

    assert (await stored(service, "big"))["value"]["in"][1] == [*values, "new"]


async def test_key_of_a_setting_leads_to_its_page(service: Service) -> None:
    await put(service, "size", 1)

    async with service.client.get(f"{LOCAL}/segments/size", allow_redirects=False) as answer:
        assert answer.headers["Location"] == f"{LOCAL}/settings/size"


@pytest.mark.parametrize("action", ["check", "save"])
async def test_form_without_a_condition_asks_for_one(service: Service, action: str) -> None:
    await put_segment(service, "beta", BETA)
    status = 200 if action == "check" else 422

    page = await post(service, "/segments-draft/beta", [("action", action)], status)

    assert "rules.0.condition.operator" in page
