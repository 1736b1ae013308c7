"""Explanations of evaluations, now and at past revisions."""

import secrets
from typing import Any

import pytest

from app.configuration.snapshots.reading import FOLLOWER
from app.flags.handlers import USAGE
from tests.conftest import Server, Service
from tests.factories import flag

LOCAL = "/v1/environments/local"
RULE = {
    "if": [
        {"and": [{"$ref": "staff"}, {">=": [{"var": "age"}, 18]}]},
        "on",
        {"fractional": [["on", 0], ["off", 100]]},
    ]
}


async def _put(service: Service, key: str, value: Any, kind: str, version: int = 0) -> None:
    condition = {"If-Match": f'"{version}"'} if version else {"If-None-Match": "*"}
    answer = await service.client.put(
        f"{LOCAL}/configurations/{key}", json={"value": value, "kind": kind}, headers=condition
    )
    assert answer.status in {200, 201}, await answer.text()


async def _fill(service: Service) -> None:
    """1: the segment. 2: the flag with its rule. 3: the flag without one."""
    await _put(service, "staff", {"ends_with": [{"var": "email"}, "@example.org"]}, "segment")
    await _put(service, "new", flag(defaultVariant="off", targeting=RULE), "flag")
    await _put(service, "new", flag(defaultVariant="off"), "flag", 1)


async def _explain(service: Service, key: str = "new", **body: Any) -> tuple[int, Any]:
    answer = await service.client.post(f"{LOCAL}/flags/{key}/evaluate", json=body)
    return answer.status, await answer.json(content_type=None)


async def test_explanation_has_each_operator_that_ran(service: Service) -> None:
    await _fill(service)
    context = {"email": "a@example.org", "age": 17, "targetingKey": "u"}

    status, explanation = await _explain(service, context=context, revision=2)

    assert (status, explanation["revision"], explanation["is_complete"]) == (200, 2, True)
    assert explanation["outcome"] == {
        "key": "new",
        "reason": "TARGETING_MATCH",
        "variant": "off",
        "value": False,
    }
    (rule,) = explanation["steps"]
    conjunction, split = rule["steps"]
    segment, comparison = conjunction["steps"]
    assert (rule["place"], rule["operator"], rule["outcome"]) == ("targeting.if", "if", "off")
    assert (conjunction["place"], conjunction["outcome"]) == ("targeting.if[0].and", False)
    assert (segment["operator"], segment["outcome"]) == ("ends_with", True)
    assert segment["steps"][0]["outcome"] == "a@example.org"
    assert (comparison["operator"], comparison["outcome"]) == (">=", False)
    assert comparison["steps"][0]["outcome"] == 17
    assert (split["operator"], split["outcome"]) == ("fractional", "off")


async def test_past_evaluation_finds_segments_of_segments(service: Service) -> None:
    email = {"var": "email"}
    await _put(service, "company", {"ends_with": [email, "@example.org"]}, "segment")
    await _put(service, "staff", {"and": [{"$ref": "company"}, {"!!": [email]}]}, "segment")
    await _put(service, "new", flag(defaultVariant="off", targeting=RULE), "flag")
    await _put(service, "other", flag(defaultVariant="off"), "flag")
    await _put(service, "company", {"==": [1, 2]}, "segment", 1)
    context = {"email": "a@example.org", "age": 18, "targetingKey": "u"}

    outcomes = [(await _explain(service, context=context, revision=n))[1] for n in (4, 5)]

    assert [explanation["outcome"]["variant"] for explanation in outcomes] == ["on", "off"]


async def test_explanation_of_a_flag_without_rule_has_no_steps(service: Service) -> None:
    await _fill(service)

    _, explanation = await _explain(service, context={})

    assert (explanation["outcome"]["reason"], explanation["steps"], explanation["revision"]) == (
        "STATIC",
        [],
        3,
    )


async def test_failing_rule_names_its_operator(service: Service) -> None:
    loop = {"reduce": [{"var": "list"}, {"cat": [{"var": "accumulator"}] * 9}, "x" * 900]}
    await _put(service, "new", flag(targeting={"if": [{"==": [loop, "x"]}, "on", "off"]}), "flag")

    status, explanation = await _explain(service, context={"list": list(range(50))})

    assert (status, explanation["outcome"]["errorCode"]) == (200, "GENERAL")
    (rule,) = explanation["steps"]
    comparison, *_ = rule["steps"]
    assert comparison["steps"][0]["place"] == "targeting.if[0].==[0].reduce"
    assert "too many steps" in comparison["steps"][0]["error"]


@pytest.mark.parametrize(
    ("key", "body", "status"),
    [
        ("missing", {}, 404),
        ("staff", {}, 404),
        ("new", {"revision": 99}, 404),
        ("new", {"revision": 1}, 404),
        ("new", {"context": None}, 422),
        ("new", {"revision": 1, "at": "2026-01-01T00:00:00Z"}, 422),
        ("new", {"more": 1}, 422),
    ],
)
async def test_unexplainable_request_is_refused(
    service: Service, key: str, body: dict[str, Any], status: int
) -> None:
    await _fill(service)

    assert (await _explain(service, key, **body))[0] == status


@pytest.mark.parametrize(
    ("definition", "code", "details"),
    [
        ({}, "PARSE_ERROR", "neither enabled nor disabled"),
        (flag(state="ON"), "PARSE_ERROR", "neither enabled nor disabled"),
        (flag(defaultVariant="often"), "PARSE_ERROR", "default variant is no variant"),
        (flag(variants=None, defaultVariant="on"), "PARSE_ERROR", "default variant is no variant"),
        (flag(variants={"on": None}, defaultVariant="on"), "GENERAL", "variant has no value"),
        (flag(targeting={"nonsense": [1]}), "PARSE_ERROR", "targeting.nonsense: is not a known"),
        (flag(targeting={"$ref": 1}), "PARSE_ERROR", "must be the name of a segment"),
        (flag(targeting=["on"]), "GENERAL", "outcome is no variant"),
        (flag(targeting={"if": [True, "often"]}), "GENERAL", "outcome is no variant"),
        (flag(targeting={"*": []}), "GENERAL", ""),
        (flag(metadata=[1], targeting={"fractional": []}, defaultVariant="on"), None, None),
    ],
)
async def test_broken_flag_is_explained_as_it_is_evaluated(
    service: Service, definition: dict[str, Any], code: str | None, details: str | None
) -> None:
    imported = await service.client.post(
        f"{LOCAL}/import?format=flagd&lenient=true", json={"flags": {"new": definition}}
    )
    await service.app[FOLLOWER].at_least("local", (await imported.json())["revision"])
    evaluated = await service.client.post(f"{LOCAL}/ofrep/v1/evaluate/flags/new", json={})

    now = await _explain(service)
    past = await _explain(service, revision=1)

    assert (now, now[0]) == (past, 200)
    outcome = now[1]["outcome"]
    assert outcome == await evaluated.json()
    assert outcome.get("errorCode") == code
    assert details is None or details in outcome["errorDetails"]


async def _usage(service: Service) -> dict[str, Any]:
    await service.app[USAGE].run_once()
    answer = await service.client.get(f"{LOCAL}/flags/usage")
    assert answer.status == 200
    return {item["key"]: item for item in (await answer.json())["items"]}


async def test_evaluations_are_counted_by_outcome(service: Service) -> None:
    await _fill(service)
    await _put(service, "other", flag(targeting={"if": [{"var": "a"}, "on", "off"]}), "flag")
    before = await _usage(service)
    one = f"{LOCAL}/ofrep/v1/evaluate/flags/other"

    for context in ({"a": 1}, {"a": 1}, {}):
        await service.client.post(one, json={"context": context})
    await service.client.post(f"{LOCAL}/ofrep/v1/evaluate/flags", json={})
    after = await _usage(service)
    again = await _usage(service)

    assert (before["new"]["count"], before["new"]["last_evaluated_at"]) == (0, None)
    counts = {(o["reason"], o["variant"]): o["count"] for o in after["other"]["outcomes"]}
    assert counts == {("TARGETING_MATCH", "on"): 2, ("TARGETING_MATCH", "off"): 2}
    assert after["new"]["outcomes"][0]["reason"] == "STATIC"
    assert again == after


async def test_flags_that_seem_not_to_be_needed_are_remarked(
    service: Service, server: Server
) -> None:
    await _put(service, "asleep", flag(), "flag")
    await _put(service, "constant", flag(defaultVariant="on"), "flag")
    for _ in range(100):
        await service.client.post(f"{LOCAL}/ofrep/v1/evaluate/flags/constant", json={})
    await _usage(service)
    with server.admin("suite") as connection:
        connection.execute(
            "update flagstone.configurations set created_at = created_at - interval '40 days'"
        )

    usage = await _usage(service)

    assert usage["asleep"]["remarks"] == ["is never evaluated"]
    assert usage["constant"]["remarks"] == ["always gives on"]


async def test_variant_name_longer_than_an_index_row_is_counted(
    service: Service,
) -> None:
    """Only a lenient import accepts such a name."""
    name = secrets.token_hex(5_000)
    wordy = flag(variants={name: True}, defaultVariant=name)
    await service.client.post(
        f"{LOCAL}/import?format=flagd&lenient=true", json={"flags": {"wordy": wordy}}
    )
    await service.client.post(f"{LOCAL}/ofrep/v1/evaluate/flags/wordy", json={})

    usage = await _usage(service)

    assert [outcome["variant"] for outcome in usage["wordy"]["outcomes"]] == [name[:255]]
