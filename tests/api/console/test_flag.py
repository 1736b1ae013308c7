"""The page of a flag: its editor as a form, the draft, saving, the switch."""

import json
import re
from html import unescape
from typing import Any

import pytest

from app.access.models import Scope
from tests.api.console.page_forms import Fields, changed, form_fields
from tests.conftest import Service
from tests.factories import flag

PAGE = "/console/environments/local"
KEY = "shop/checkout"
OWN = {"Sec-Fetch-Site": "same-origin"}
RULES: dict[str, Any] = {
    "if": [
        {
            "and": [
                {"ends_with": [{"var": "email"}, "@example.org"]},
                {"!": [{"in": [{"var": "plan"}, ["pro", "team"]]}]},
            ]
        },
        "on",
        {"fractional": [{"var": "email"}, ["on", 1], ["off", 3]]},
    ]
}
FLAG = flag(defaultVariant="off", targeting=RULES, metadata={"owner": "web", "size": 1.0})


async def put(
    service: Service,
    value: Any = FLAG,
    *,
    key: str = KEY,
    environment: str = "local",
    version: int = 0,
) -> None:
    condition = {"If-Match": f'"{version}"'} if version else {"If-None-Match": "*"}
    path = f"/v1/environments/{environment}/configurations/{key}"
    body = {"kind": "flag", "value": value}
    async with service.client.put(path, json=body, headers=condition) as answer:
        assert answer.status in (200, 201), await answer.text()


async def stored(service: Service, key: str = KEY, environment: str = "local") -> Any:
    path = f"/v1/environments/{environment}/configurations/{key}"
    async with service.client.get(path) as answer:
        return await answer.json()


async def get(service: Service, path: str = f"/flags/{KEY}", status: int = 200) -> str:
    async with service.client.get(PAGE + path) as answer:
        text = await answer.text()
        assert answer.status == status, text
        return text


async def read(service: Service, key: str = KEY) -> Fields:
    return form_fields(await get(service, f"/flags/{key}"), "flag-form")


async def post(
    service: Service, fields: Fields, action: str = "", *, path: str = f"/flag-draft/{KEY}"
) -> tuple[int, str]:
    """Post a form as a browser without JavaScript. A redirect gives its location."""
    body = [*fields, ("action", action)] if action else fields
    async with service.client.post(
        PAGE + path, data=body, headers=OWN, allow_redirects=False
    ) as answer:
        location = answer.headers.get("Location")
        return answer.status, location or await answer.text()


async def test_flag_saved_without_an_edit_writes_nothing(service: Service) -> None:
    await put(service)

    status, text = await post(service, await read(service), "save")

    assert status == 200
    assert "Nothing has changed, so nothing was written." in text
    assert (await stored(service))["version"] == 1


async def test_flag_edit_is_saved_with_a_message(service: Service) -> None:
    await put(service)
    fields = changed(
        await read(service),
        rules__0__condition__conditions__0__value="@example.com",
        message="Move the staff",
    )

    status, location = await post(service, fields, "save")

    assert (status, location) == (303, f"{PAGE}/flags/{KEY}?saved=2")
    definition = (await stored(service))["value"]
    expected = json.loads(json.dumps(RULES).replace("example.org", "example.com"))
    assert definition == {**FLAG, "targeting": expected}
    assert "Saved as" in await get(service, f"/flags/{KEY}?saved=2")


async def test_button_changes_the_draft_and_stores_nothing(service: Service) -> None:
    await put(service)

    status, text = await post(service, await read(service), "add rules")

    assert status == 200
    fields = dict(form_fields(text, "flag-form"))
    assert fields["rules.1.condition.attribute"] == ""
    assert fields["rules.0.condition.conditions.0.attribute"] == "email"
    assert (await stored(service))["version"] == 1


async def test_draft_of_htmx_is_the_form_alone(service: Service) -> None:
    await put(service)
    fields = [*await read(service), ("action", "add metadata")]
    headers = {**OWN, "HX-Request": "true"}

    async with service.client.post(
        f"{PAGE}/flag-draft/{KEY}", data=fields, headers=headers
    ) as answer:
        text = await answer.text()

    assert answer.status == 200
    assert text.lstrip().startswith("<form")


async def test_refusal_of_the_api_is_beside_its_rule(service: Service) -> None:
    await put(service)
    fields = changed(await read(service), rules__0__outcome__serve='"none"')

    status, text = await post(service, fields, "save")

    assert status == 422
    assert "must be the name of a variant" in text
    assert dict(form_fields(text, "flag-form"))["rules.0.outcome.serve"] == '"none"'


async def test_error_of_a_value_is_beside_its_field(service: Service) -> None:
    await put(service, flag(targeting={"if": [{">": [{"var": "age"}, 20]}, "on"]}))
    fields = changed(await read(service), rules__0__condition__value="old")

    status, text = await post(service, fields, "save")

    assert status == 422
    assert "must be a number, such as 25 or 0.5" in text
    assert (await stored(service))["version"] == 1


async def test_json_error_names_line_and_column(service: Service) -> None:
    await put(service)
    _, text = await post(service, await read(service), "view json")
    fields = changed(form_fields(text, "flag-form"), json='{"state": "ENABLED",\n "variants": x}')

    status, text = await post(service, fields, "view rules")

    assert status == 200
    assert "line 2, column 14" in text


async def test_json_and_rules_views_stay_in_step(service: Service) -> None:
    await put(service)
    fields = changed(await read(service), rules__0__condition__conditions__0__attribute="mail")

    _, text = await post(service, fields, "view json")
    as_json = form_fields(text, "flag-form")
    _, text = await post(service, as_json, "view rules")
    status, _ = await post(service, form_fields(text, "flag-form"), "save")

    assert status == 303
    changed_rules = json.loads(
        json.dumps(RULES).replace('{"var": "email"}, "@', '{"var": "mail"}, "@')
    )
    assert (await stored(service))["value"] == {**FLAG, "targeting": changed_rules}


async def test_advanced_targeting_opens_as_json_with_a_reason(service: Service) -> None:
    rule = {"if": [{"==": [{"%": [{"var": "n"}, 2]}, 0]}, "on"]}
    await put(service, flag(defaultVariant="off", targeting=rule))

    text = await get(service)

    assert "does not compare one attribute with a constant" in text
    fields = dict(form_fields(text, "flag-form"))
    assert json.loads(fields["json"])["targeting"] == rule


async def test_variant_in_use_is_not_removed(service: Service) -> None:
    await put(service)

    _, text = await post(service, await read(service), "remove variants.0")

    assert "rule 1" in text
    assert len([1 for name, _ in form_fields(text, "flag-form") if name.endswith(".was")]) == 2


async def test_renamed_variant_is_renamed_in_the_rules(service: Service) -> None:
    await put(service)
    fields = [
        (n, "yes" if (n, v) == ("variants.0.name", "on") else v) for n, v in await read(service)
    ]
    fields = [(n, "yes" if (n, v) == ("variants.1.name", "on") else v) for n, v in fields]

    status, _ = await post(service, fields, "save")

    assert status == 303
    definition = (await stored(service))["value"]
    assert set(definition["variants"]) == {"yes", "off"}
    assert definition["targeting"] == json.loads(json.dumps(RULES).replace('"on"', '"yes"'))


async def test_reader_sees_sentences_without_inputs(service: Service) -> None:
    await put(service)
    token = await service.token(Scope.READ)

    async with service.stranger.get(
        f"{PAGE}/flags/{KEY}", headers={"Authorization": f"Bearer {token}"}
    ) as answer:
        text = await answer.text()

    assert answer.status == 200
    assert "Read only." in text
    assert "<b>email</b> ends with <b>@example.org</b>" in text
    assert 'name="rules' not in text


async def test_past_flag_is_shown_without_an_edit(service: Service) -> None:
    await put(service)
    await put(service, flag(defaultVariant="on"), version=1)

    text = await get(service, f"/flags/{KEY}?revision=1")

    assert "You see the past" in text
    assert "<b>@example.org</b>" in text
    assert 'name="rules' not in text


async def test_flag_of_another_environment_is_copied(service: Service) -> None:
    await put(service, environment="staging")

    text = await get(service, status=404)
    assert "Create it here from staging" in text
    text = await get(service, f"/flag-copy/{KEY}?source=staging")
    assert "on if email ends with @example.org" in text
    assert "It serves the same as in staging at once." in text
    fields = form_fields(text, "copy")
    assert ("state", "source") in fields
    status, _ = await post(service, fields, path=f"/flag-copy/{KEY}")

    assert status == 303
    assert (await stored(service))["value"] == FLAG


async def test_copy_to_production_is_disabled_with_its_rules(service: Service) -> None:
    await put(service)
    production = "/console/environments/production"
    async with service.client.get(f"{production}/flag-copy/{KEY}?source=local") as answer:
        fields = form_fields(await answer.text(), "copy")
    assert ("state", "disabled") in fields

    for path, more, expected in (
        ("flag-copy", {}, 422),
        ("flag-copy", {"confirmation": "production", "message": "Try"}, 303),
        ("flag-switch", {"confirmation": "production"}, 303),
    ):
        url = f"{production}/{path}/{KEY}"
        form = {**dict(fields), **more}
        async with service.client.post(url, data=form, headers=OWN, allow_redirects=False) as saved:
            assert saved.status == expected
        if path == "flag-copy" and expected == 303:
            created = await stored(service, environment="production")
            assert created["value"] == {**FLAG, "state": "DISABLED"}

    assert (await stored(service, environment="production"))["value"] == FLAG


async def test_copy_without_its_segment_leads_to_promote(service: Service) -> None:
    path = "/v1/environments/staging/configurations/staff"
    body = {"kind": "segment", "value": {"==": [{"var": "plan"}, "staff"]}}
    async with service.client.put(path, json=body, headers={"If-None-Match": "*"}) as answer:
        assert answer.status == 201
    await put(service, flag(targeting={"if": [{"$ref": "staff"}, "on"]}), environment="staging")
    text = await get(service, f"/flag-copy/{KEY}?source=staging")
    assert "local does not have the segment staff." in text
    assert "promote the flag with its segments" in text

    status, text = await post(service, form_fields(text, "copy"), path=f"/flag-copy/{KEY}")

    assert status == 422
    assert "refers to staff, which is no segment" in text


async def test_copy_of_a_flag_that_exists_is_refused(service: Service) -> None:
    await put(service, environment="staging")
    fields = form_fields(await get(service, f"/flag-copy/{KEY}?source=staging"), "copy")
    await put(service, flag(defaultVariant="on"))

    status, text = await post(service, fields, path=f"/flag-copy/{KEY}")

    assert status == 412
    assert f"{KEY} is at version 1" in text


async def test_copy_of_a_changed_flag_writes_nothing(service: Service) -> None:
    await put(service, environment="staging")
    fields = form_fields(await get(service, f"/flag-copy/{KEY}?source=staging"), "copy")
    await put(service, flag(defaultVariant="on"), environment="staging", version=1)

    status, text = await post(service, fields, path=f"/flag-copy/{KEY}")
    assert status == 409
    assert "changed in staging. Review it again." in text
    status, _ = await post(service, changed(fields, state="none"), path=f"/flag-copy/{KEY}")
    assert status == 409
    await get(service, status=404)

    status, text = await post(
        service, changed(form_fields(text, "copy"), state="none"), path=f"/flag-copy/{KEY}"
    )
    assert status == 422
    assert "must be disabled or source" in text


async def test_switch_serves_one_variant_and_restores_the_rules(service: Service) -> None:
    await put(service)
    assert "Switch off in local" in await get(service, f"/flag-switch/{KEY}")

    form = [("version", "1"), ("message", "Errors")]
    status, _ = await post(service, form, path=f"/flag-switch/{KEY}")
    assert status == 303
    off = (await stored(service))["value"]
    assert "targeting" not in off
    assert off["defaultVariant"] == "off"

    status, _ = await post(service, [("version", "2")], path=f"/flag-switch/{KEY}")
    assert status == 303
    assert (await stored(service))["value"] == FLAG


async def test_switch_of_a_disabled_flag_is_named_enable(service: Service) -> None:
    await put(service, flag(state="DISABLED", defaultVariant="off"))

    text = await get(service, f"/flag-switch/{KEY}")
    assert "Enable in local" in text
    assert "<li>off for all</li>" in text
    assert "Switch on" not in text

    status, _ = await post(service, [("version", "1")], path=f"/flag-switch/{KEY}")
    assert status == 303
    assert "The flag was enabled: <b>off</b> is served to all" in await get(
        service, "/changes/2/summary"
    )


async def test_switch_in_production_needs_its_name(service: Service) -> None:
    await put(service, environment="production")
    path = f"/console/environments/production/flag-switch/{KEY}"

    for confirmation, status in (("", 422), ("local", 422), ("production", 303)):
        form = {"version": "1", "confirmation": confirmation}
        async with service.client.post(
            path, data=form, headers=OWN, allow_redirects=False
        ) as answer:
            assert answer.status == status
            if status == 422:
                text = await answer.text()
                assert "Type production, exactly" in text
                assert (
                    f'name="confirmation" value="{confirmation}" required aria-invalid="true"'
                    in text
                )


@pytest.mark.parametrize(("value", "has_rules"), [(FLAG, True), (flag(), False)])
async def test_switch_off_promises_only_existing_rules(
    service: Service, *, value: Any, has_rules: bool
) -> None:
    await put(service, value)

    text = await get(service, f"/flag-switch/{KEY}")

    assert ("Its rules return" in text) == has_rules


async def test_draft_of_a_changed_flag_shows_both_changes(service: Service) -> None:
    await put(service)
    fields = changed(await read(service), state="DISABLED")
    theirs = json.loads(json.dumps(FLAG).replace("@example.org", "@example.net"))
    await put(service, theirs, version=1)

    status, text = await post(service, fields, "save")

    assert status == 409
    assert "Someone changed this flag while you edited it" in text
    assert "@example.net" in text
    assert (await stored(service))["value"] == theirs
    assert dict(form_fields(text, "flag-form"))["state"] == "DISABLED"

    _, text = await post(service, form_fields(text, "flag-form"), "rebase")
    assert "Someone changed" not in text
    status, _ = await post(service, form_fields(text, "flag-form"), "save")
    assert status == 303
    assert (await stored(service))["value"] == {**theirs, "state": "DISABLED"}


async def test_rule_that_both_changed_is_chosen(service: Service) -> None:
    await put(service)
    fields = changed(await read(service), rules__0__outcome__serve='"off"')
    theirs = json.loads(json.dumps(FLAG).replace("@example.org", "@example.net"))
    await put(service, theirs, version=1)

    _, text = await post(service, fields, "rebase")
    assert "Both of you changed 1 part." in text
    fields = [*form_fields(text, "flag-form"), ("choice rule 1", "mine")]
    _, text = await post(service, fields, "rebase")
    status, _ = await post(service, form_fields(text, "flag-form"), "save")

    assert status == 303
    assert (await stored(service))["value"]["targeting"]["if"][1] == "off"
    assert "@example.org" in json.dumps((await stored(service))["value"])


async def test_draft_of_a_deleted_flag_is_not_found(service: Service) -> None:
    await put(service)
    fields = await read(service)
    path = f"/v1/environments/local/configurations/{KEY}"
    async with service.client.delete(path, headers={"If-Match": '"1"'}) as answer:
        assert answer.status == 200

    status, text = await post(service, fields, "save")

    assert status == 404
    assert "Your draft stays here." in text


async def test_flag_of_texts_without_rules_is_neither_on_nor_off(service: Service) -> None:
    await put(service, flag(variants={"a": "A", "b": "B"}, defaultVariant="a"))

    assert 'aria-checked="false"' in (text := await get(service))
    assert "No rules" in text
    assert "Serve to all" in await get(service, f"/flag-switch/{KEY}")


async def test_details_lead_to_the_review_of_a_deletion(service: Service) -> None:
    await put(service, flag(defaultVariant="off"))

    link = re.search(r'<a href="([^"]*)">[^\n]*Delete in local…</a>', await get(service))

    assert link is not None
    async with service.client.get(unescape(link[1])) as answer:
        assert answer.status == 200
        assert f"Delete {KEY}" in await answer.text()


async def test_new_rule_has_no_error_before_a_save(service: Service) -> None:
    await put(service, flag(defaultVariant="off"))

    _, text = await post(service, await read(service), "add rules")
    assert "aria-invalid" not in text
    assert "1 field is empty or wrong" in text
    status, text = await post(service, form_fields(text, "flag-form"), "save")

    assert status == 422
    assert '<a href="#wrong-rules-0-condition-attribute">Rule 1: attribute</a>' in text
    assert 'aria-invalid="true" id="wrong-rules-0-condition-attribute" data-focus' in text


@pytest.mark.parametrize("kind", ["texts", "numbers"])
async def test_list_that_a_person_leaves_empty_is_refused(service: Service, kind: str) -> None:
    rule = {"if": [{"in": [{"var": "plan"}, ["pro"]]}, "on"]}
    await put(service, flag(defaultVariant="off", targeting=rule))
    fields = changed(
        await read(service), rules__0__condition__value=" \n", rules__0__condition__type=kind
    )

    status, text = await post(service, fields, "save")

    assert status == 422
    assert '<a href="#wrong-rules-0-condition-value">Rule 1: value</a>' in text
    assert "must have at least one value" in text


async def test_stored_empty_list_remains(service: Service) -> None:
    rule = {"if": [{"in": [{"var": "plan"}, []]}, "on"]}
    await put(service, flag(defaultVariant="off", targeting=rule))

    status, text = await post(
        service, changed(await read(service), description="Beta", message="New"), "save"
    )

    assert status in (204, 303), text
    assert (await stored(service))["value"]["targeting"] == rule
    assert "plan is one of (nothing)" in await get(service, "/changes/1")


async def test_values_of_one_line_split_at_commas(service: Service) -> None:
    attribute = {"var": "place"}
    await put(
        service,
        flag(defaultVariant="off", targeting={"if": [{"in": [attribute, ["Rome, IT"]]}, "on"]}),
    )
    unedited = await read(service)

    _, text = await post(service, unedited, "check")
    assert dict(form_fields(text, "flag-form"))["rules.0.condition.value"] == "Rome, IT"
    edited = changed(unedited, rules__0__condition__value="Rome, IT\nDE, FR")
    _, text = await post(service, edited, "check")
    assert dict(form_fields(text, "flag-form"))["rules.0.condition.value"] == "Rome, IT\nDE\nFR"
    status, _ = await post(service, edited, "save")

    assert status == 303
    values = ["Rome, IT", "DE", "FR"]
    rule = {"if": [{"in": [attribute, values]}, "on"]}
    assert (await stored(service))["value"]["targeting"] == rule


async def test_flag_switched_off_names_its_stored_rules(service: Service) -> None:
    await put(service)
    await put(service, flag(defaultVariant="off"), version=1)

    text = await get(service)

    assert "Switched off. Its 1 rule returns when you switch it on." in text


async def test_prerequisites_and_flags_in_rules_are_edited_as_a_form(service: Service) -> None:
    await put(service, flag(defaultVariant="on"), key="payments")
    await put(service, flag(defaultVariant="off", targeting={"if": [{"var": "x"}, "on"]}))
    status, text = await post(service, await read(service), "add-flag rules.0.condition")
    fields = changed(
        form_fields(text, "flag-form"),
        prerequisites="payments = on\n",
        off='"off"',
        rules__0__condition__conditions__1__flag="payments",
        rules__0__condition__conditions__1__value="on",
    )

    saved, location = await post(service, fields, "save")

    assert (status, saved) == (200, 303), location
    definition = (await stored(service))["value"]
    assert definition["prerequisites"] == [{"flag": "payments", "variant": "on"}]
    assert definition["offVariant"] == "off"
    needed = {"flag": ["payments", "on"]}
    assert definition["targeting"] == {"if": [{"and": [{"var": "x"}, needed]}, "on"]}
    again = await read(service)
    assert dict(again)["prerequisites"] == "payments = on"
    assert (await post(service, again, "save"))[0] == 200
    assert (await stored(service))["version"] == 2


@pytest.mark.parametrize(
    ("typed", "rule"),
    [
        ("payments", "must be a flag, = and a variant in each line"),
        ("missing = on", "needs missing, which is no flag"),
    ],
)
async def test_wrong_prerequisite_is_refused(service: Service, typed: str, rule: str) -> None:
    await put(service)

    status, text = await post(service, changed(await read(service), prerequisites=typed), "save")

    assert status == 422
    assert rule in unescape(text)
    assert (await stored(service))["version"] == 1
