"""Lenient imports over HTTP store all that flagd accepts. Only the invalid flags fail."""

import json
from typing import Any

import pytest

from tests.api.configuration.flag_changes import (
    LOCAL,
    STAGING,
    change,
    errors_of,
    put_flag,
    put_segment,
    targeting,
)
from tests.conftest import Service
from tests.factories import flag

DOCUMENT: dict[str, Any] = {
    "flags": {
        "dangling": targeting("missing"),
        "circular": targeting("a"),
        "wrong": flag(state="ON", description="Off since May", owner={"team": "x"}),
        "fine": flag(defaultVariant="on", source="repo", **{"$comment": ["why"]}),
    },
    "$evaluators": {"a": {"!": {"$ref": "b"}}, "b": {"!": {"$ref": "a"}}},
}


async def _import(
    service: Service, document: Any, place: str = LOCAL, **query: str
) -> tuple[int, Any]:
    answer = await service.client.post(f"{place}/import", json=document, params=query)
    return answer.status, await answer.json()


async def _entries(service: Service, place: str = LOCAL) -> dict[str, Any]:
    page = await (await service.client.get(f"{place}/configurations")).json()
    return {item["key"]: item for item in page["items"]}


async def _outcomes(service: Service, place: str = LOCAL) -> dict[str, Any]:
    answer = await service.client.post(f"{place}/ofrep/v1/evaluate/flags", json={"context": {}})
    return {outcome["key"]: outcome for outcome in (await answer.json())["flags"]}


async def test_lenient_import_warns_and_only_affected_flags_fail(
    service: Service,
) -> None:
    status, imported = await _import(service, DOCUMENT, lenient="true")

    outcomes = await _outcomes(service)
    assert (status, len(imported["created"])) == (200, 6)
    assert imported["warnings"] == [
        "wrong.value.state: must be ENABLED or DISABLED",
        "dangling: refers to missing, which is no segment",
        "a: refers to b, and so to itself",
        "b: refers to a, and so to itself",
    ]
    assert {key: outcome.get("errorCode") for key, outcome in outcomes.items()} == {
        "circular": "PARSE_ERROR",
        "dangling": "PARSE_ERROR",
        "fine": None,
        "wrong": "PARSE_ERROR",
    }


async def test_strict_import_names_references_and_writes_nothing(service: Service) -> None:
    flags = {key: DOCUMENT["flags"][key] for key in ("dangling", "fine")}

    dangling = await _import(service, {"flags": flags})
    circular = await _import(service, {"flags": {}, "$evaluators": DOCUMENT["$evaluators"]})

    assert (dangling[0], dangling[1]["code"]) == (422, "reference_unknown")
    assert (circular[0], circular[1]["code"]) == (422, "reference_circular")
    assert await _entries(service) == {}


@pytest.mark.parametrize("format_", ["flagd", "json", "yaml"])
async def test_lenient_import_is_exported_and_imported_unchanged(
    service: Service, format_: str
) -> None:
    await _import(service, DOCUMENT, lenient="true")
    answer = await service.client.get(f"{LOCAL}/export", params={"format": format_})
    body = await answer.read()

    query = {"format": format_, "lenient": "true"}
    here = await service.client.post(f"{LOCAL}/import", data=body, params=query)
    there = await service.client.post(f"{STAGING}/import", data=body, params=query)

    entries, copies = await _entries(service), await _entries(service, STAGING)
    assert (await here.json())["unchanged"] == len(entries) == 6
    assert len((await there.json())["created"]) == 6
    assert {k: entry["value"] for k, entry in entries.items()} == {
        k: entry["value"] for k, entry in copies.items()
    }
    assert entries["wrong"]["value"] == DOCUMENT["flags"]["wrong"]
    assert entries["fine"]["value"] == DOCUMENT["flags"]["fine"]


async def test_stored_definition_is_written_back_by_put(service: Service) -> None:
    await _import(service, DOCUMENT, lenient="true")

    answers = [
        await service.client.put(
            f"{LOCAL}/configurations/{key}",
            json={"kind": item["kind"], "value": item["value"], "description": "Reviewed"},
            headers={"If-Match": f'"{item["version"]}"'},
        )
        for key, item in (await _entries(service)).items()
    ]

    assert [answer.status for answer in answers] == [200] * 6
    after = await _entries(service)
    assert {entry["description"] for entry in after.values()} == {"Reviewed"}


async def test_stored_definitions_are_written_back_by_a_change_set(service: Service) -> None:
    await _import(service, DOCUMENT, lenient="true")
    changed = {**DOCUMENT["flags"]["wrong"], "state": "OFF"}

    written, _ = await change(
        service,
        put_flag("wrong", DOCUMENT["flags"]["wrong"], 1),
        put_flag("dangling", DOCUMENT["flags"]["dangling"], 1),
        put_segment("a", DOCUMENT["$evaluators"]["a"], 1),
    )
    status, problem = await change(
        service,
        put_flag("fine", flag(), 1),
        put_flag("wrong", changed, 2),
        put_flag("x", flag(state=1)),
    )

    assert written == 200
    assert (status, problem["code"]) == (422, "operations_invalid")
    assert errors_of(problem) == [
        ("operations[1].value.state", "must be ENABLED or DISABLED"),
        ("operations[2].value.state", "must be ENABLED or DISABLED"),
    ]


async def test_new_reference_to_a_stored_circle_is_refused(service: Service) -> None:
    await _import(service, DOCUMENT, lenient="true")

    circle = await change(service, put_flag("new", targeting("a")))
    dangling = await change(service, put_flag("dangling", targeting("missing", "gone"), 1))

    assert (circle[0], circle[1]["code"]) == (422, "reference_circular")
    assert errors_of(dangling[1]) == [("dangling", "refers to gone, which is no segment")]


async def test_restore_accepts_leniently_imported_values(service: Service) -> None:
    await _import(service, DOCUMENT, lenient="true")
    await _import(service, {"flags": {"other": flag()}}, mode="replace")

    answer = await service.client.post(f"{LOCAL}/restore", json={"revision": 1})

    assert answer.status == 200
    assert (await _entries(service)).keys() == {*DOCUMENT["flags"], *DOCUMENT["$evaluators"]}


async def test_lenient_import_lists_keys_and_names_that_it_left_out(service: Service) -> None:
    status, flags = await _import(
        service,
        {"flags": [{"key": "my flag", **flag()}, {"key": "ok", **flag()}], "extra": 1},
        lenient="true",
        format="flagd",
    )
    answer = await service.client.post(
        f"{LOCAL}/import", data="A=1\nA=2\n", params={"format": "env", "lenient": "true"}
    )

    env = await answer.json()
    assert (status, flags["created"]) == (200, ["ok"])
    assert flags["warnings"][0] == "extra of the document was left out"
    assert flags["warnings"][1].startswith("'my flag': must ")
    assert flags["warnings"][1].endswith("; it was left out")
    assert env["warnings"] == ["A: is repeated at line 2; that value is used"]
    assert (await _entries(service))["A"]["value"] == "2"


async def test_warnings_of_an_import_have_a_limit(service: Service) -> None:
    lines = "A=1\n" * 1_500

    answer = await service.client.post(
        f"{LOCAL}/import", data=lines, params={"format": "env", "lenient": "true"}
    )

    warnings = (await answer.json())["warnings"]
    assert (len(warnings), warnings[-1]) == (1_001, "and 499 more")


@pytest.mark.parametrize(
    ("members", "warning"),
    [
        ({"targetting": {}}, "f.value.targetting: has no effect; did you mean targeting?"),
        (
            {"targeting": {"if": [{"var": "x"}, "off", "off"]}},
            "f.value.targeting.if: has branches that are all equal",
        ),
    ],
)
async def test_strict_import_warns_of_a_probable_mistake(
    service: Service, members: dict[str, Any], warning: str
) -> None:
    status, imported = await _import(service, {"flags": {"f": flag(**members)}})

    assert (status, imported["warnings"]) == (200, [warning])


async def test_flags_json_has_no_members_of_ours(service: Service) -> None:
    guarded = flag(
        defaultVariant="on", guards=[{"context": {}, "variant": "on"}], description="Ours"
    )
    await _import(service, {"flags": {"f": guarded}})

    document = await (await service.client.get(f"{LOCAL}/flags.json")).json()
    export = await (await service.client.get(f"{LOCAL}/export?format=flagd")).text()

    assert document["flags"] == {"f": flag(defaultVariant="on")}
    assert json.loads(export)["flags"] == {"f": guarded}
