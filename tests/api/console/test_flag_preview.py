"""The preview beside the editor of a flag, its contexts, and guards from it."""

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
STAFF = {"ends_with": [{"var": "email"}, "@example.org"]}
RULES: dict[str, Any] = {
    "if": [STAFF, "on", {"$ref": "pro"}, "on", {"fractional": [["on", 1], ["off", 3]]}]
}
GUARD = {"name": "staff", "context": {"email": "a@example.org"}, "variant": "on"}
FLAG = flag(defaultVariant="off", targeting=RULES, guards=[GUARD])


async def put(service: Service, key: str, value: Any, kind: str = "flag", version: int = 0) -> None:
    condition = {"If-Match": f'"{version}"'} if version else {"If-None-Match": "*"}
    path = f"/v1/environments/local/configurations/{key}"
    body = {"kind": kind, "value": value}
    async with service.client.put(path, json=body, headers=condition) as answer:
        assert answer.status in (200, 201), await answer.text()


@pytest.fixture
async def fields(service: Service) -> Fields:
    """Return the fields of the editor of a stored flag."""
    await put(service, "pro", {"==": [{"var": "plan"}, "pro"]}, "segment")
    await put(service, KEY, FLAG)
    async with service.client.get(f"{PAGE}/flags/{KEY}") as answer:
        return form_fields(await answer.text(), "flag-form")


async def post(
    service: Service,
    fields: Fields,
    part: str = "flag-preview",
    *,
    key: str = KEY,
    status: int = 200,
) -> str:
    """Post fields as htmx does, and return the fragment without entities."""
    headers = {"Sec-Fetch-Site": "same-origin", "HX-Request": "true"}
    path = f"{PAGE}/{part}/{key}"
    async with service.client.post(path, data=fields, headers=headers) as answer:
        text = await answer.text()
        assert answer.status == status, text
        assert "<html" not in text
        return unescape(text)


async def with_guards(service: Service, fields: Fields) -> Fields:
    """Return the fields of the editor after a guard was added or removed."""
    headers = {"Sec-Fetch-Site": "same-origin", "HX-Request": "true"}
    path = f"{PAGE}/flag-guard/{KEY}"
    async with service.client.post(path, data=fields, headers=headers) as answer:
        return form_fields(await answer.text(), "flag-form")


def context(number: int, **attributes: str) -> Fields:
    rows = [
        (f"context-{number}-{part}", text)
        for name, value in attributes.items()
        for part, text in (("name", name), ("value", value))
    ]
    return [("context-shown", "1"), (f"context-{number}-view", "form"), *rows]


def as_json(number: int, text: str) -> Fields:
    return [(f"context-{number}-view", "json"), (f"context-{number}-json", text)]


async def test_preview_of_unchanged_draft_changes_no_key(service: Service, fields: Fields) -> None:
    text = await post(service, fields)

    assert "Of 10,000 sampled keys, none changes." in text
    assert "Now and after" in text
    assert "<table" not in text


async def test_attributes_that_sampled_keys_lack_are_named(
    service: Service, fields: Fields
) -> None:
    bare = await post(service, fields)
    attributes = '{"email": "a@example.net", "plan": "pro"}'
    full = await post(service, [*fields, ("sample-context", attributes)])
    varied = await post(service, [*fields, ("sample-attribute", "email")])

    form = await post(service, fields, "flag-contexts")
    assert "Rule 1 needs <code>email</code>, which the sampled keys do not have." in bare
    assert "Rule 2 needs <code>plan</code>" in bare
    assert 'href="#f-sample-context"' in bare
    assert 'id="f-sample-context"' in form
    assert "do not have" not in full
    assert "Rule 1" not in varied
    assert "Rule 2 needs <code>plan</code>" in varied


async def test_sample_attributes_are_named_and_cleared(service: Service, fields: Fields) -> None:
    body = [*fields, ("sample-context", '{"email": "a@example.org", "seats": 3}')]

    text = await post(service, body)
    form = await post(service, [*body, ("context-action", "clear sample")], "flag-contexts")

    sentence = "Each sampled key has email = a@example.org, seats = 3."
    assert sentence in re.sub(r"<[^>]*>", "", text)
    assert 'value="clear sample"' in text
    assert 'name="sample-context" value=""' in form
    assert "Each sampled key has <code>" not in await post(service, fields)


async def test_preview_shows_who_changes_in_a_table(service: Service, fields: Fields) -> None:
    draft = changed(fields, otherwise__shares__0__percent="40", otherwise__shares__1__percent="60")

    text = await post(service, draft)

    sentence = re.search(r"Of 10,000 sampled keys, ([\d,]+) change\.", text)
    assert sentence is not None
    count = int(sentence[1].replace(",", ""))
    assert 1_350 < count < 1_650
    cells = re.findall(r'<td class="number[^>]*>([\d,]+)</td>', text)
    assert sum(int(cell.replace(",", "")) for cell in cells) == 10_000
    assert sentence[1] in cells
    assert text.count('<svg class="bar"') == 2


async def test_preview_shows_each_context_with_its_rules(service: Service, fields: Fields) -> None:
    contexts = [
        *context(0, targetingKey="u", email="a@example.org"),
        *context(1, targetingKey="u", plan="pro"),
        *as_json(2, '{"targetingKey": "u", "age": 7}'),
    ]
    draft = changed(fields, rules__0__outcome__serve='"off"')

    text = await post(service, [*draft, *contexts])

    cards = text.split('aria-label="Outcome for context ')[1:]
    assert len(cards) == 3
    assert "on <span" in cards[0]
    assert re.search(r'data-state="matched">.*?off if email ends with @example.org', cards[0])
    states = re.findall(r'<li data-state="(\w+)">', cards[1])
    assert states == ["failed", "matched", "skipped"]
    assert re.findall(r'<li data-state="(\w+)">', cards[2]) == ["failed", "failed", "matched"]
    assert re.search(r"drew \d+ in 0 to 3", cards[2])


async def test_preview_says_which_guards_break(service: Service, fields: Fields) -> None:
    text = await post(service, changed(fields, rules__0__outcome__serve='"off"'))

    assert "Broken" in text
    assert "staff: gets off and must get on" in text
    assert "A draft with a broken guard cannot be saved." in text
    assert "This would be refused" not in text
    assert "Holds" in await post(service, fields)


async def test_refused_draft_shows_the_sentences_of_the_api(
    service: Service, fields: Fields
) -> None:
    definition = flag(defaultVariant="off", targeting={"if": [{"!!": [{"$ref": "gone"}]}, "on"]})
    editor = [("version", "1"), ("view", "json"), ("json", json.dumps(definition))]

    text = await post(service, editor)

    assert "This would be refused." in text
    assert "refers to gone, which is no segment" in text
    assert "sampled keys" not in text
    incomplete = await post(service, [("version", "1"), ("view", "json"), ("json", "{")])
    assert "Complete the form to see the preview: 1 field is missing or wrong." in incomplete
    assert fields


async def test_malformed_context_is_named_and_others_shown(
    service: Service, fields: Fields
) -> None:
    text = await post(service, [*fields, *as_json(0, "{"), *context(1, targetingKey="u")])

    assert "Context 1: context: must be JSON" in text
    assert text.count("Outcome for context") == 1


async def test_outcome_of_a_context_is_in_its_own_box(service: Service, fields: Fields) -> None:
    draft = changed(fields, rules__0__outcome__serve='"off"')
    contexts = [*context(0, email="a@example.org"), *as_json(1, "{"), *context(2, plan="pro")]

    text = await post(service, [*draft, *contexts])
    form = await post(service, [*draft, *contexts], "flag-contexts")

    boxes = dict(re.findall(r'<p id="context-(\d)-outcome"[^>]*>(.*?)</p>', text))
    assert boxes.keys() == {"0", "2"}
    assert re.sub("<.*?>", "", boxes["0"]) == "Gets on →now, after the draft: off"
    assert boxes["2"] == "Gets <strong>on</strong>"
    assert all(f'id="context-{number}-outcome"' in form for number in range(3))


async def test_contexts_form_offers_attributes_of_rules(service: Service, fields: Fields) -> None:
    first = await post(service, fields, "flag-contexts")
    added = await post(
        service, [*fields, *context(0, plan="pro"), ("context-action", "add")], "flag-contexts"
    )

    names = re.findall(r'name="context-0-name" value="([^"]*)"', first)
    assert names == ["targetingKey", "email", "plan", ""]
    assert 'name="context-0-value" value="user-1"' in first
    assert 'name="context-0-value" value="pro"' in added
    assert 'name="context-1-value" value="user-2"' in added


async def test_context_is_edited_as_json_and_as_fields(service: Service, fields: Fields) -> None:
    typed = context(0, targetingKey="7", plan="true", email='"7"', tags='["a"]', note="007")
    body = [*fields, *typed, ("context-action", "json 0")]

    text = await post(service, body, "flag-contexts")

    field = re.search(r"<textarea[^>]*>\n(.*?)</textarea>", text, re.DOTALL)
    assert field is not None
    values = {"targetingKey": 7, "plan": True, "email": "7", "tags": ["a"], "note": "007"}
    assert json.loads(field[1]) == values
    body = [*fields, *as_json(0, field[1]), ("context-action", "form 0")]
    back = await post(service, body, "flag-contexts")
    pairs = re.findall(
        r'name="context-0-name" value="([^"]+)">.*?name="context-0-value" value="(.*?)" auto',
        back,
        re.DOTALL,
    )
    assert dict(pairs) == {
        "targetingKey": "7",
        "email": '"7"',
        "plan": "true",
        "tags": '["a"]',
        "note": "007",
    }
    removed = [*fields, *typed, ("context-action", "remove 0")]
    assert "No context." in await post(service, removed, "flag-contexts")
    broken = [*fields, *as_json(0, "[1]"), ("context-action", "form 0")]
    assert "must be a JSON object" in await post(service, broken, "flag-contexts")


async def test_context_becomes_a_guard_of_the_draft(service: Service, fields: Fields) -> None:
    text = await post(service, [*fields, *context(0, targetingKey="u", plan="pro")])
    button = re.search(r'name="guard" value="(\{.*?\}\})?(.*?)" hx-post', text)
    assert button is not None
    guard = button[0].removeprefix('name="guard" value="').removesuffix('" hx-post')
    assert json.loads(guard) == {"context": {"targetingKey": "u", "plan": "pro"}, "variant": "on"}

    added = await with_guards(service, [*fields, ("guard", guard)])
    removed = await with_guards(service, [*added, ("remove-guard", "0")])

    assert json.loads(dict(added)["rest"])["guards"] == [GUARD, json.loads(guard)]
    assert json.loads(dict(removed)["rest"])["guards"] == [json.loads(guard)]
    in_json = [("version", "1"), ("view", "json"), ("json", json.dumps(flag())), ("guard", guard)]
    shown = await post(service, in_json, "flag-guard")
    assert '"guards"' in shown


async def test_preview_without_a_draft_evaluates_the_stored_flag(
    service: Service, fields: Fields
) -> None:
    assert fields
    reader = await service.token(Scope.READ)
    async with service.signed_in(reader) as browser:
        headers = {"Sec-Fetch-Site": "same-origin", "HX-Request": "true"}
        async with browser.post(
            f"{PAGE}/flag-preview/{KEY}", data=context(0, plan="pro"), headers=headers
        ) as answer:
            text = await answer.text()
        async with browser.get(f"{PAGE}/flags/{KEY}") as page:
            whole = await page.text()

    assert answer.status == 200
    assert "10,000 sampled keys" in text
    assert "Keep as a guard" not in text
    assert 'id="preview-results"' in whole


async def test_preview_of_the_past_evaluates_the_past_flag(
    service: Service, fields: Fields
) -> None:
    await put(service, KEY, flag(defaultVariant="on"), version=1)

    text = await post(
        service, context(0, targetingKey="u"), "flag-preview", key=f"{KEY}?revision=2"
    )

    assert fields
    assert re.findall(r'<li data-state="(\w+)">', text) == ["failed", "failed", "matched"]


async def test_preview_of_unknown_flag_is_not_found(service: Service, fields: Fields) -> None:
    text = await post(service, fields, key="none", status=404)

    assert "There is no flag " in text


async def test_hostile_texts_of_a_context_are_escaped(service: Service, fields: Fields) -> None:
    hostile = '"><script>alert(1)</script>'
    headers = {"Sec-Fetch-Site": "same-origin", "HX-Request": "true"}
    body = [*fields, *context(0, **{hostile: hostile}), ("sample-attribute", hostile)]
    for part in ("flag-preview", "flag-contexts"):
        path = f"{PAGE}/{part}/{KEY}"
        async with service.client.post(path, data=body, headers=headers) as answer:
            assert "<script" not in await answer.text()


async def test_rare_outcomes_share_a_row_and_a_column(service: Service) -> None:
    names = [f"v{number:03}" for number in range(200)]
    variants = dict(zip(names, names, strict=True))
    split = {"fractional": [[name, 1] for name in names]}
    await put(service, KEY, flag(variants=variants, targeting=split))
    definition = flag(variants=variants, targeting={"fractional": split["fractional"][::-1]})
    editor = [("version", "1"), ("view", "json"), ("json", json.dumps(definition))]

    text = await post(service, editor)

    assert "188 others" in text
    cells = re.findall(r'<td class="number[^>]*>([\d,]+)</td>', text)
    assert len(cells) == 13 * 13
    assert sum(int(cell.replace(",", "")) for cell in cells) == 10_000


@pytest.mark.slow
async def test_long_lists_of_rules_show_the_one_that_decides(service: Service) -> None:
    parts: list[Any] = []
    for number in range(100):
        parts += [{"==": [{"var": "amount"}, number]}, "on"]
    await put(service, KEY, flag(defaultVariant="off", targeting={"if": parts}))

    text = await post(service, context(0, amount="77"))

    states = re.findall(r'<li data-state="(\w+)">', text)
    assert states == ["failed"] * 30 + ["matched"]
    assert "70 more rules not shown." in text
    assert "on if amount is 77" in text


async def test_nested_attribute_is_a_field_of_its_own(service: Service) -> None:
    rule = {"if": [{"==": [{"var": "user.team"}, "core"]}, "on", "off"]}
    await put(service, KEY, flag(defaultVariant="off", targeting=rule))
    typed = context(0, **{"user.team": "core", "user": '{"id": 1}'})

    results = await post(service, typed)
    as_text = await post(service, [*typed, ("context-action", "json 0")], "flag-contexts")
    nested = as_json(0, '{"user": {"team": "core"}}')
    back = await post(service, [*nested, ("context-action", "form 0")], "flag-contexts")

    assert re.findall(r'<li data-state="(\w+)">', results) == ["matched", "skipped"]
    field = re.search(r"<textarea[^>]*>\n(.*?)</textarea>", as_text, re.DOTALL)
    assert field is not None
    assert json.loads(field[1]) == {"user": {"id": 1, "team": "core"}}
    names = re.findall(r'name="context-0-name" value="([^"]*)"', back)
    assert names == ["targetingKey", "user.team", ""]
    assert 'name="context-0-value" value="core"' in back


async def test_malformed_sample_is_named_beside_the_preview(
    service: Service, fields: Fields
) -> None:
    text = await post(service, [*fields, ("sample-context", "{")])

    assert "Sampled keys: context: must be JSON" in text
    assert "none changes" in text
    headers = {"Sec-Fetch-Site": "same-origin", "HX-Request": "true"}
    path = f"{PAGE}/flag-guard/{KEY}"
    async with service.client.post(path, data=fields, headers=headers) as answer:
        assert answer.status == 400
