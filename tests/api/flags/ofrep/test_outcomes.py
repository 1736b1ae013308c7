"""Outcomes: values, reasons, failures. Cn is a line of OFREP's checklist."""

import asyncio
import gc
import json
import math
from typing import Any

import pytest
from structlog.testing import capture_logs

from app import memory
from app.configuration.changes import service as changes
from app.configuration.changes.authority import OPERATOR_AUTHORITY
from app.configuration.changes.models import Content, Kind, Operation
from app.configuration.snapshots.reading import FOLLOWER
from app.evaluation.bulk import Bulk
from app.evaluation.engine import Flag
from app.http.keys import DATABASE
from tests.api.flags.ofrep.conftest import BY_PLAN, FAILING, FLAGS, LOCAL, SWITCH, Client
from tests.conftest import Server
from tests.loop import longest_share
from tests.waiting import HANG_SECONDS

PRO = {"context": {"targetingKey": "u", "plan": "pro"}}
# The objects that one collection of garbage may visit. The flags are 190,000 objects, which
# collections must not visit.
VISITED_MAX = 20_000
# The share of the processor time for which one answer may block all others.
SHARE_MAX = 0.03


def _only(value: Any) -> dict[str, Any]:
    return {"state": "ENABLED", "variants": {"it": value}, "defaultVariant": "it"}


@pytest.mark.parametrize(
    "value",
    [
        "true",
        "false",
        '"text"',
        '""',
        '"\\"& < > ü 🚩"',
        "0",
        "1",
        "1.0",
        "-0.5",
        "1e-7",
        "9007199254740991",
        "-9007199254740991",
        "{}",
        '{"a":[1,1.0,null,{"b":"c"}],"d":true}',
    ],
)
async def test_c4_c11_value_and_json_type_are_exact(ofrep: Client, value: str) -> None:
    await ofrep.put("typed", _only(json.loads(value)))

    one, every = await ofrep.one("typed", {}), await ofrep.all({})

    assert f'"value":{value}'.encode() in one.raw
    assert one.raw in every.raw
    assert set(one.body) == {"key", "reason", "variant", "value"}


@pytest.mark.parametrize(
    ("definition", "expected"),
    [
        (SWITCH, {"reason": "STATIC", "variant": "on", "value": True}),
        (BY_PLAN, {"reason": "TARGETING_MATCH", "variant": "on", "value": True}),
        (
            BY_PLAN | {"targeting": {"if": [False, "on"]}},
            {"reason": "DEFAULT", "variant": "off", "value": False},
        ),
        (SWITCH | {"state": "DISABLED"}, {"reason": "DISABLED", "variant": ""}),
        (SWITCH | {"defaultVariant": None}, {"reason": "DEFAULT", "variant": ""}),
        (
            SWITCH | {"targeting": {"fractional": [["off", 1]]}},
            {"reason": "TARGETING_MATCH", "variant": "off", "value": False},
        ),
    ],
    ids=["static", "match", "default", "disabled", "code default", "split"],
)
async def test_c10_c12_c13_c14_outcome_has_key_and_reason_and_no_null(
    ofrep: Client, definition: dict[str, Any], expected: dict[str, Any]
) -> None:
    await ofrep.put("flag", definition)

    one, every = await ofrep.one("flag", PRO), await ofrep.all(PRO)

    assert one.status == 200
    assert one.body == every.flags["flag"] == {"key": "flag"} | expected


async def test_c15_c24_metadata_is_the_flags_over_the_flag_sets(
    ofrep: Client, server: Server
) -> None:
    flag_metadata = {"owner": "shop", "weight": 1.5, "old": False}
    await ofrep.put("described", SWITCH | {"metadata": flag_metadata})
    await ofrep.put("plain", SWITCH | {"state": "DISABLED"})
    _describe(server, {"owner": "all", "version": 3})
    await ofrep.service.app[FOLLOWER].refresh()
    try:
        described = await ofrep.one("described", {})
        every = await ofrep.all({})
    finally:
        _describe(server, {})
        await ofrep.service.app[FOLLOWER].refresh()

    assert described.body["metadata"] == flag_metadata | {"version": 3}
    assert every.flags["plain"]["metadata"] == {"owner": "all", "version": 3}
    assert every.body["metadata"] == {"owner": "all", "version": 3}


def _describe(server: Server, metadata: dict[str, Any]) -> None:
    with server.admin("suite") as connection:
        connection.execute(
            "update flagstone.environments set metadata = %s::jsonb where name = 'local'",
            [json.dumps(metadata)],
        )


async def test_c16_an_unknown_flag_is_404_with_its_key(ofrep: Client) -> None:
    await ofrep.put("a-setting", 1, kind="setting")

    answers = [await ofrep.one("nothing", {}), await ofrep.one("a-setting", {})]

    assert [answer.status for answer in answers] == [404, 404]
    assert answers[0].body == {
        "key": "nothing",
        "errorCode": "FLAG_NOT_FOUND",
        "errorDetails": "There is no such flag.",
    }


@pytest.mark.parametrize(
    ("targeting", "code"),
    [
        (FAILING["targeting"], "GENERAL"),
        ({"var": "n"}, "GENERAL"),
        ({"nonsense": [1]}, "PARSE_ERROR"),
        ({"if": [{"fractional": [{"nonsense": [1]}]}]}, "PARSE_ERROR"),
    ],
)
async def test_c17_c18_failed_evaluation_is_400_with_code_and_reason(
    ofrep: Client, targeting: Any, code: str
) -> None:
    await ofrep.put_unchecked("failing", SWITCH | {"targeting": targeting})

    one = await ofrep.one("failing", {"context": {"n": 1.5}})

    assert one.status == 400
    assert (one.body["key"], one.body["errorCode"]) == ("failing", code)
    assert one.body["errorDetails"].endswith(".")
    assert not {"reason", "value", "variant"} & set(one.body)


async def test_c11_null_variant_is_refused_or_fails_alone(
    ofrep: Client,
) -> None:
    void = SWITCH | {"variants": {"on": None, "off": False}}
    refused = await ofrep.service.client.put(
        f"{LOCAL}/configurations/void",
        json={"value": void, "kind": "flag"},
        headers={"If-None-Match": "*"},
    )
    await ofrep.put_unchecked("void", void)

    one, every = await ofrep.one("void"), await ofrep.all()

    assert (refused.status, (await refused.json())["errors"]) == (
        422,
        [
            {
                "field": "value.variants.on",
                "rule": "must be a boolean, a string, a number or an object",
            }
        ],
    )
    assert (one.status, one.body["errorCode"]) == (400, "GENERAL")
    assert (every.status, every.flags["void"]) == (200, one.body)
    assert "value" not in one.body


async def test_c22_c23_failing_flag_is_one_item_among_all(
    ofrep: Client,
) -> None:
    await ofrep.put("a", SWITCH)
    await ofrep.put_unchecked("failing", FAILING)
    await ofrep.put("z", SWITCH | {"state": "DISABLED"})

    every = await ofrep.all(PRO)

    assert every.status == 200
    assert sorted(item["key"] for item in every.body["flags"]) == ["a", "failing", "z"]
    assert every.flags["failing"]["errorCode"] == "GENERAL"
    assert every.flags["failing"]["errorDetails"]
    assert every.flags["a"]["value"] is True


async def test_c22_no_flags_are_an_empty_list(ofrep: Client) -> None:
    assert (await ofrep.all()).body["flags"] == []


async def test_c21_unexpected_error_is_500_and_logged(
    ofrep: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_down(*_: object) -> None:
        raise ZeroDivisionError

    await ofrep.put("plan", BY_PLAN)
    monkeypatch.setattr(Flag, "evaluate", break_down)
    monkeypatch.setattr(Bulk, "evaluate", break_down)

    with capture_logs() as logged:
        one, every = await ofrep.one("plan", PRO), await ofrep.all(PRO)

    assert (one.status, every.status) == (500, 500)
    assert (one.body["key"], one.body["errorCode"]) == ("plan", "GENERAL")
    assert "X-Request-ID" in every.body["errorDetails"]
    assert one.headers["X-Request-ID"]
    failures = [entry for entry in logged if entry["log_level"] == "error"]
    assert [entry["event"] for entry in failures] == ["request_failed"] * 2
    assert "plan" not in {str(value) for value in failures[0].values()}


@pytest.mark.slow
async def test_ten_thousand_flags_do_not_hold_the_loop(
    ofrep: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The collection of each minute is not part of a change. It visits what is being compiled.
    monkeypatch.setattr(memory, "PAUSE_SECONDS", math.inf)

    def put(number: int) -> Operation:
        content = Content(kind=Kind.FLAG, value=BY_PLAN)
        return Operation(key=f"many/{number}", content=content, expected=None)

    for start in range(0, 10_000, 1_000):
        operations = [put(number) for number in range(start, start + 1_000)]
        await ofrep.service.app[DATABASE].transact(
            lambda c, these=operations: changes.apply(
                c, "local", these, actor="test", authority=OPERATOR_AUTHORITY
            )  # type: ignore[misc]
        )
    await ofrep.service.app[FOLLOWER].refresh()
    visited: list[int] = []
    sizes: list[int] = []

    def watch_collector(phase: str, info: dict[str, int]) -> None:
        # A collection visits all objects of its generation and of younger ones. It pauses all
        # threads, whichever thread runs it.
        if phase == "start":
            generations = range(info["generation"] + 1)
            visited.append(sum(len(gc.get_objects(generation=number)) for number in generations))

    async def change_and_evaluate() -> None:
        gc.callbacks.append(watch_collector)
        # The metadata is in each flag's answer, so each flag is compiled again.
        for team in (1, True):
            properties = {"metadata": {"team": team}}
            answer = await ofrep.service.client.patch(
                LOCAL, json=properties, headers={"If-Match": "*"}
            )
            revision = (await answer.json())["change_sets"][0]["revision"]
            await ofrep.service.app[FOLLOWER].at_least("local", revision, seconds=HANG_SECONDS)
        context = json.dumps(PRO).encode()
        reader, writer = await asyncio.open_connection(*ofrep.address)
        writer.write(ofrep.head(FLAGS, len(context)) + context)
        size = 0
        while part := await reader.read(2**16):
            size += len(part)
        writer.close()
        gc.callbacks.remove(watch_collector)
        sizes.append(size)

    share = await longest_share(change_and_evaluate, limit=SHARE_MAX)

    assert min(sizes) > 800_000
    assert max(visited) < VISITED_MAX
    assert share < SHARE_MAX
