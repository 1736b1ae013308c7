"""Previews: the effect of a draft that is not stored, and why a write would refuse it."""

import asyncio
from collections import Counter
from typing import Any

import pytest

from app.database import Database
from app.evaluation.run import STEPS_MAX
from app.flags import preview as service_of_previews
from app.flags.sampling import SAMPLE_KEYS
from app.http.keys import DATABASE
from app.settings import Settings
from tests.conftest import Service
from tests.factories import COSTLY_SCHEMA, flag

LOCAL = "/v1/environments/local"
STAFF = {"ends_with": [{"var": "email"}, "@example.org"]}
ADA = {"targetingKey": "ada", "email": "ada@example.org"}
BOB = {"targetingKey": "bob", "email": "bob@example.com"}


def split(on: int) -> dict[str, Any]:
    return {"fractional": [["on", on], ["off", 100 - on]]}


def targeted(rest: Any = "off", **members: Any) -> dict[str, Any]:
    rule = {"if": [{"and": [{"$ref": "staff"}]}, "on", rest]}
    return flag(defaultVariant="off", targeting=rule, **members)


async def _put(service: Service, key: str, value: Any, kind: str = "flag", version: int = 0) -> int:
    condition = {"If-Match": f'"{version}"'} if version else {"If-None-Match": "*"}
    body = {"value": value, "kind": kind}
    path = f"{LOCAL}/configurations/{key}"
    answer = await service.client.put(path, json=body, headers=condition)
    assert answer.status in {200, 201}, await answer.text()
    return answer.status


async def _fill(service: Service) -> None:
    await _put(service, "staff", STAFF, "segment")
    await _put(service, "new", targeted())
    await _put(service, "old", flag(defaultVariant="on"))
    await _put(service, "retries", 3, "setting")


async def _send(service: Service, **body: Any) -> tuple[int, Any]:
    answer = await service.client.post(f"{LOCAL}/preview", json=body)
    return answer.status, await answer.json(content_type=None)


async def _preview(service: Service, changes: dict[str, Any], **body: Any) -> Any:
    status, preview = await _send(service, changes=changes, **body)
    assert status == 200, preview
    return preview


def _entry(value: Any, kind: str = "flag") -> dict[str, Any]:
    return {"value": value, "kind": kind}


async def test_preview_counts_the_keys_that_change(service: Service) -> None:
    await _fill(service)

    preview = await _preview(service, {"new": _entry(targeted(split(12)))})

    (of_flag,) = preview["flags"]
    sample = of_flag["sample"]
    assert (preview["refusals"], preview["is_complete"], preview["flags_count"]) == ([], True, 1)
    assert (of_flag["key"], sample["keys"], sample["attributes"]) == (
        "new",
        SAMPLE_KEYS,
        ["targetingKey"],
    )
    assert 1_000 < sample["changed"] < 1_400
    assert sample["movements"] == [
        {"before": "off", "after": "off", "keys": 10_000 - sample["changed"], "changed": False},
        {"before": "off", "after": "on", "keys": sample["changed"], "changed": True},
    ]


async def test_preview_equals_the_flag_after_saving(service: Service) -> None:
    await _fill(service)
    draft = targeted(split(30))
    request = {"contexts": [ADA, BOB], "sample": {"context": {"email": "x@example.net"}}}

    before = await _preview(service, {"new": _entry(draft)}, **request)
    await _put(service, "new", draft, version=1)
    after = await _preview(service, {"new": _entry(draft)}, **request)

    (drafted,), (stored,) = before["flags"], after["flags"]
    totals: Counter[str] = Counter()
    for movement in drafted["sample"]["movements"]:
        totals[movement["after"]] += movement["keys"]
    assert totals == {m["before"]: m["keys"] for m in stored["sample"]["movements"]}
    assert stored["sample"]["changed"] == 0
    assert [c["after"] for c in drafted["contexts"]] == [c["before"] for c in stored["contexts"]]
    for context, shown in zip((ADA, BOB), drafted["contexts"], strict=True):
        body = {"context": context}
        answer = await service.client.post(f"{LOCAL}/flags/new/evaluate", json=body)
        explained = await answer.json()
        assert (explained["outcome"], explained["steps"]) == (
            shown["after"]["outcome"],
            shown["after"]["steps"],
        )


async def test_preview_shows_each_context_before_and_after(service: Service) -> None:
    await _fill(service)

    draft = flag(variants={"on": True, "off": False, "new": True}, defaultVariant="new")
    preview = await _preview(service, {"new": _entry(draft)}, contexts=[ADA, BOB])

    ada, bob = preview["flags"][0]["contexts"]
    variants = [
        (c["before"]["outcome"]["variant"], c["after"]["outcome"]["variant"], c["changed"])
        for c in (ada, bob)
    ]
    assert variants == [("on", "new", True), ("off", "new", True)]
    assert ada["before"]["steps"][0]["operator"] == "if"
    assert ada["after"]["steps"] == []


async def test_new_value_of_a_variant_is_a_change(service: Service) -> None:
    await _put(service, "limit", flag(variants={"low": 1, "high": 10}, defaultVariant="low"))

    draft = flag(variants={"low": 2, "high": 10}, defaultVariant="low")
    preview = await _preview(service, {"limit": _entry(draft)}, contexts=[ADA])

    of_flag = preview["flags"][0]
    assert of_flag["sample"]["movements"] == [
        {"before": "low", "after": "low", "keys": SAMPLE_KEYS, "changed": True}
    ]
    assert of_flag["contexts"][0]["changed"] is True


async def test_new_and_deleted_flags_are_previewed(service: Service) -> None:
    await _fill(service)

    changes = {"old": None, "newest": _entry(flag(defaultVariant="off"))}
    preview = await _preview(service, changes, contexts=[ADA])

    deleted, created = preview["flags"]
    assert (deleted["key"], created["key"]) == ("old", "newest")
    assert deleted["sample"]["movements"] == [
        {"before": "on", "after": "FLAG_NOT_FOUND", "keys": SAMPLE_KEYS, "changed": True}
    ]
    assert created["sample"]["movements"] == [
        {"before": "FLAG_NOT_FOUND", "after": "off", "keys": SAMPLE_KEYS, "changed": True}
    ]
    assert (deleted["contexts"][0]["after"], created["contexts"][0]["before"]) == (None, None)


async def test_segment_previews_the_flags_that_use_it(service: Service) -> None:
    await _fill(service)
    company = {"or": [{"$ref": "staff"}, {"==": [{"var": "plan"}, "own"]}]}
    await _put(service, "company", company, "segment")
    uses = {"if": [{"!!": [{"$ref": "company"}]}, "on"]}
    await _put(service, "through", flag(defaultVariant="off", targeting=uses))

    everyone = {"!!": [{"var": "targetingKey"}]}
    preview = await _preview(service, {"staff": _entry(everyone, "segment")}, contexts=[BOB])

    assert [of_flag["key"] for of_flag in preview["flags"]] == ["new", "through"]
    assert [of_flag["sample"]["changed"] for of_flag in preview["flags"]] == [SAMPLE_KEYS] * 2
    assert all(of_flag["contexts"][0]["changed"] for of_flag in preview["flags"])


async def test_split_by_an_attribute_varies_it(service: Service) -> None:
    by = {"cat": [{"var": "$flagd.flagKey"}, {"var": "user.company"}]}
    await _put(service, "new", flag(defaultVariant="off"))
    rule = {"fractional": [by, ["on", 50], ["off", 50]]}
    draft = {"new": _entry(flag(defaultVariant="off", targeting=rule))}

    varied = await _preview(service, draft)
    given = await _preview(service, draft, sample={"context": {"user": {"company": "a"}}})
    chosen = await _preview(service, draft, sample={"keys": 100, "attribute": "user.company"})

    samples = [preview["flags"][0]["sample"] for preview in (varied, given, chosen)]
    assert [sample["attributes"] for sample in samples] == [
        ["targetingKey", "user.company"],
        ["targetingKey"],
        ["user.company"],
    ]
    assert 4_800 < samples[0]["changed"] < 5_200
    assert samples[1]["changed"] in {0, SAMPLE_KEYS}
    assert (samples[2]["keys"], 30 < samples[2]["changed"] < 70) == (100, True)


async def test_guards_of_a_draft_are_green_or_red(service: Service) -> None:
    await _fill(service)
    guards = [
        {"name": "ada has it", "context": ADA, "variant": "on"},
        {"context": BOB, "variant": "on"},
    ]

    preview = await _preview(service, {"new": _entry(targeted(guards=guards))}, contexts=[ADA])

    (of_flag,) = preview["flags"]
    assert of_flag["guards"] == [
        {"position": 0, "name": "ada has it", "variant": "on", "actual": "on", "holds": True},
        {"position": 1, "name": "", "variant": "on", "actual": "off", "holds": False},
    ]
    (refusal,) = preview["refusals"]
    assert (refusal["key"], refusal["code"]) == (None, "guard_broken")
    assert of_flag["sample"]["keys"] == SAMPLE_KEYS


async def _refusal_of_write(service: Service, changes: dict[str, Any]) -> tuple[str, Any]:
    """Return the error of a dry run that writes the draft."""
    ((key, entry),) = changes.items()
    path = f"{LOCAL}/configurations/{key}?dry_run=true"
    current = await service.client.get(f"{LOCAL}/configurations/{key}")
    has_tag = "ETag" in current.headers
    headers = {"If-Match": current.headers["ETag"]} if has_tag else {"If-None-Match": "*"}
    if entry is None:
        headers = headers if has_tag else {"If-Match": '"1"'}
        answer = await service.client.delete(path, headers=headers)
    else:
        answer = await service.client.put(path, json=entry, headers=headers)
    problem = await answer.json(content_type=None)
    assert answer.status >= 400, problem
    return problem["code"], problem.get("errors", [])


LARGE = {"!!": [{"+": [{"var": "n"}] * 1_990}]}
REFUSED: dict[str, dict[str, Any]] = {
    "key": {"a//b": _entry(flag(defaultVariant="on"))},
    "kind": {"retries": _entry(flag(defaultVariant="on"))},
    "state": {"new": _entry(flag(state="ON"))},
    "variant": {"new": _entry(targeted("often"))},
    "operator": {"new": _entry(flag(targeting={"if": [{"nonsense": 1}, "on"]}))},
    "no object": {"new": _entry([])},
    "segment format": {"staff": _entry({"nonsense": 1}, "segment")},
    "schema": {"retries": {"value": 3, "schema": {"type": "string"}}},
    "costly schema": {"retries": {"value": 3, "schema": COSTLY_SCHEMA}},
    "large": {"retries": {"value": "x" * 270_000}},
    "reference": {"new": _entry(flag(targeting={"if": [{"!!": [{"$ref": "gone"}]}, "on"]}))},
    "circle": {"staff": _entry({"!!": [{"$ref": "staff"}]}, "segment")},
    "used segment": {"staff": None},
    "too large with its segment": {"staff": _entry({"or": [LARGE, LARGE]}, "segment")},
    "guard": {"new": _entry(targeted(guards=[{"context": BOB, "variant": "on"}]))},
    "guard of another flag": {"staff": _entry({"==": [1, 2]}, "segment")},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", REFUSED)
async def test_refused_draft_has_the_errors_of_a_write(service: Service, name: str) -> None:
    await _fill(service)
    await _put(service, "watched", targeted(guards=[{"context": ADA, "variant": "on"}]))
    changes = REFUSED[name]

    code, errors = await _refusal_of_write(service, changes)
    preview = await _preview(service, changes)

    (refusal,) = preview["refusals"]
    assert (refusal["code"], refusal["errors"]) == (code, errors)
    assert bool(preview["flags"]) is (code == "guard_broken")


async def test_draft_that_deletes_an_unknown_key_is_refused(service: Service) -> None:
    preview = await _preview(service, {"gone": None})

    (refusal,) = preview["refusals"]
    assert (refusal["key"], refusal["code"]) == ("gone", "configuration_unknown")


async def test_stored_flag_that_breaks_the_format_is_previewed(service: Service) -> None:
    document = {"flags": {"loose": flag(state="ON", defaultVariant="on")}}
    imported = await service.client.post(f"{LOCAL}/import?format=flagd&lenient=true", json=document)
    assert imported.status == 200, await imported.text()

    preview = await _preview(service, {"loose": _entry(document["flags"]["loose"])})

    assert preview["refusals"] == []
    assert preview["flags"][0]["sample"]["movements"] == [
        {"before": "PARSE_ERROR", "after": "PARSE_ERROR", "keys": SAMPLE_KEYS, "changed": False}
    ]


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        ({}, 422, "body"),
        ({"changes": {}}, 422, "changes"),
        ({"changes": {"new": {}}}, 422, "changes[...]"),
        ({"changes": {"new": {"value": 1, "kind": "secret"}}}, 422, "changes[...].kind"),
        ({"changes": {"new": None}, "contexts": [{}] * 21}, 422, "contexts"),
        ({"changes": {"new": None}, "contexts": [1]}, 422, "contexts[0]"),
        ({"changes": {"new": None}, "sample": {"keys": 10_001}}, 422, "sample.keys"),
        ({"changes": {"new": None}, "sample": {"attribute": ""}}, 422, "sample.attribute"),
        ({"changes": {"new": None}, "more": 1}, 422, "body"),
    ],
)
async def test_bad_preview_request_names_field(
    service: Service, body: Any, status: int, field: str
) -> None:
    await _fill(service)

    actual, problem = await _send(service, **body)

    assert (actual, problem["errors"][0]["field"]) == (status, field)


async def test_preview_stores_nothing(service: Service) -> None:
    await _fill(service)

    preview = await _preview(service, {"new": _entry(flag(defaultVariant="on")), "old": None})

    environment = await (await service.client.get(LOCAL)).json()
    assert preview["revision"] == environment["revision"] == 4
    body = {"context": BOB}
    answer = await service.client.post(f"{LOCAL}/ofrep/v1/evaluate/flags/new", json=body)
    assert (await answer.json())["variant"] == "off"


async def test_preview_works_while_the_database_is_away(
    service: Service, settings: Settings
) -> None:
    await _fill(service)

    with service.using(DATABASE, Database(settings.database)):
        preview = await _preview(service, {"new": _entry(targeted(split(50)))})

    assert preview["flags"][0]["sample"]["keys"] == SAMPLE_KEYS


async def test_costly_draft_ends_with_a_part_of_the_sample(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service_of_previews, "SECONDS_MAX", 0.05)
    await _put(service, "new", flag(defaultVariant="off"))
    # Each evaluation nearly uses up its steps.
    count = STEPS_MAX // 20
    loop = {"reduce": [{"var": "list"}, {"+": [{"var": "accumulator"}, 1]}, 0]}
    draft = flag(defaultVariant="off", targeting={"if": [{"==": [loop, 1]}, "on", "off"]})

    preview = await _preview(
        service, {"new": _entry(draft)}, sample={"context": {"list": [1] * count}}
    )

    sample = preview["flags"][0]["sample"]
    assert preview["is_complete"] is False
    assert 0 < sample["keys"] < SAMPLE_KEYS
    assert sum(movement["keys"] for movement in sample["movements"]) == sample["keys"]


async def test_segment_of_many_flags_previews_the_first(service: Service) -> None:
    await _put(service, "staff", STAFF, "segment")
    operations = [
        {"op": "put", "key": f"flag-{n:02}", "version": 0, "kind": "flag", "value": targeted()}
        for n in range(25)
    ]
    written = await service.client.post(f"{LOCAL}/changes", json={"operations": operations})
    assert written.status == 200, await written.text()

    everyone = _entry({"!!": [{"var": "targetingKey"}]}, "segment")
    preview = await _preview(service, {"staff": everyone}, contexts=[BOB], sample={"keys": 10})

    keys = [of_flag["key"] for of_flag in preview["flags"]]
    assert keys == [f"flag-{n:02}" for n in range(20)]
    assert (preview["flags_count"], preview["is_complete"]) == (25, False)


async def test_previews_run_one_after_another(service: Service) -> None:
    await _fill(service)

    drafts = [{"new": _entry(targeted(split(share)))} for share in (10, 20, 30)]
    previews = await asyncio.gather(*(_preview(service, draft) for draft in drafts))

    changed = [preview["flags"][0]["sample"]["changed"] for preview in previews]
    assert changed == sorted(changed)
