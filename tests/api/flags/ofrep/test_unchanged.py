"""ETag and 304: the tag depends on everything that the answer depends on, and on nothing else."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from app.access.models import Scope
from app.configuration.snapshots.reading import FOLLOWER
from tests.api.flags.ofrep.conftest import BY_CLOCK, BY_PLAN, FLAGS, SWITCH, Answer, Client
from tests.conftest import Server

PRO = {"context": {"targetingKey": "u", "plan": "pro"}}
TURN = 2_000_000_000


async def _again(ofrep: Client, tag: str, body: Any = PRO) -> Answer:
    return await ofrep.all(body, headers={"If-None-Match": tag})


async def test_c25_bulk_etag_is_strong_and_one_flag_has_none(
    ofrep: Client,
) -> None:
    await ofrep.put("plan", BY_PLAN)

    every, one = await ofrep.all(PRO), await ofrep.one("plan", PRO)

    assert every.etag[0] == every.etag[-1] == '"'
    assert len(every.etag) == 34
    assert "ETag" not in one.headers


@pytest.mark.parametrize(
    "sent",
    [
        *('"{}"', 'W/"{}"', '"x", "{}"', '"x",W/"{}" , "y"', "*"),
        *('"{}-gzip"', '"{}--gzip"', '"{};br"', 'W/"{}-zstd", "y"'),
    ],
)
async def test_c26_a_tag_that_matches_is_304_without_a_body(ofrep: Client, sent: str) -> None:
    await ofrep.put("plan", BY_PLAN)
    first = await ofrep.all(PRO)

    again = await _again(ofrep, sent.format(first.etag[1:-1]))

    assert (again.status, again.raw) == (304, b"")
    assert again.etag == first.etag
    assert "Content-Type" not in again.headers
    assert again.headers["Flagstone-Revision"] == first.headers["Flagstone-Revision"]


async def test_c26_a_list_may_come_in_two_headers(ofrep: Client) -> None:
    first = await ofrep.all(headers={"Host": "x"})
    reader, writer = await asyncio.open_connection(*ofrep.address)
    head = ofrep.head(FLAGS).removesuffix(b"\r\n")
    writer.write(head + b'If-None-Match: "x"\r\nIf-None-Match: %b\r\n\r\n' % first.etag.encode())

    received = await reader.read()

    writer.close()
    assert received.startswith(b"HTTP/1.1 304 ")


@pytest.mark.parametrize("sent", ['"x"', "", "W/", "nonsense", '"x", "y"', '"'])
async def test_c27_another_tag_or_none_gets_the_answer_in_full(ofrep: Client, sent: str) -> None:
    await ofrep.put("plan", BY_PLAN)
    first = await ofrep.all(PRO)

    again = await _again(ofrep, sent)

    assert (again.status, again.raw, again.etag) == (200, first.raw, first.etag)


@pytest.mark.parametrize("flag", [BY_PLAN, BY_CLOCK])
@pytest.mark.parametrize("body", [b"no json", b"[]", b'{"context": 1}', b"\xff"])
async def test_any_tag_with_a_body_that_is_no_context_is_400(
    ofrep: Client, flag: dict[str, Any], body: bytes
) -> None:
    await ofrep.put("plan", flag)

    answer = await _again(ofrep, "*", body)
    repeated = await _again(ofrep, f"{answer.headers.get('ETag', 'W/')}, *", body)

    assert (answer.status, repeated.status) == (400, 400)
    assert "ETag" not in answer.headers


async def test_one_flag_knows_no_condition(ofrep: Client) -> None:
    await ofrep.put("plan", BY_PLAN)

    answer = await ofrep.one("plan", PRO, headers={"If-None-Match": "*"})

    assert answer.status == 200


@pytest.mark.parametrize(
    "context", [{}, {"targetingKey": "u"}, {"targetingKey": "v", "plan": "pro"}]
)
async def test_c28_another_context_has_another_tag(ofrep: Client, context: dict[str, str]) -> None:
    """The web client sends its old tag after a change of the context without the targeting key."""
    await ofrep.put("plan", BY_PLAN)
    first = await ofrep.all(PRO)

    other = await _again(ofrep, first.etag, {"context": context})

    assert (other.status, other.etag != first.etag) == (200, True)


async def test_c28_etag_changes_with_rules_not_with_settings(
    ofrep: Client,
) -> None:
    await ofrep.put("plan", BY_PLAN)
    first = await ofrep.all(PRO)

    await ofrep.put("a-setting", 1, kind="setting")
    after_setting = await _again(ofrep, first.etag)
    await ofrep.put("a-setting", 2, kind="setting", version=1)
    after_settings = await _again(ofrep, first.etag)
    await ofrep.put("plan", BY_PLAN | {"metadata": {"owner": "shop"}}, version=1)
    after_flag = await _again(ofrep, first.etag)
    await ofrep.put("a-segment", {"var": "plan"}, kind="segment")
    after_segment = await _again(ofrep, after_flag.etag)

    assert (after_setting.status, after_settings.status) == (304, 304)
    # The revision of the environment increases, and a 304 has it too.
    revisions = [answer.headers["Flagstone-Revision"] for answer in (first, after_settings)]
    assert [revision.rpartition(":")[2] for revision in revisions] == ["1", "3"]
    assert (after_flag.status, after_segment.status) == (200, 200)
    assert len({first.etag, after_flag.etag, after_segment.etag}) == 3


async def test_c28_equal_etags_never_have_different_answers(
    ofrep: Client,
) -> None:
    await ofrep.put("plan", BY_PLAN)
    first = await ofrep.all(PRO)
    await ofrep.put("plan", SWITCH, version=1)
    second = await ofrep.all(PRO)
    await ofrep.put("plan", BY_PLAN, version=2)
    third = await _again(ofrep, second.etag)

    assert (third.status, third.raw) == (200, first.raw)


@pytest.mark.parametrize(
    ("change", "undo"),
    [
        ("metadata = '{\"version\": 2}'", "metadata = '{}'"),
        ("fractional = 'v2'", "fractional = 'v3'"),
        ("epoch = gen_random_uuid()", "epoch = epoch"),
    ],
    ids=["metadata", "bucketing", "epoch"],
)
async def test_c28_environment_properties_change_the_etag(
    ofrep: Client, server: Server, change: str, undo: str
) -> None:
    await ofrep.put("plan", BY_PLAN)
    first = await ofrep.all(PRO)
    follower = ofrep.service.app[FOLLOWER]

    with server.admin("suite") as connection:
        statement = "update flagstone.environments set {} where name = 'local'"
        connection.execute(statement.format(change).encode())
        await follower.refresh()
        changed = await _again(ofrep, first.etag)
        connection.execute(statement.format(undo).encode())
        await follower.refresh()

    assert (changed.status, changed.etag != first.etag) == (200, True)


async def test_c28_etag_depends_on_token_not_on_address(
    ofrep: Client,
) -> None:
    """A 304 has no URL, so the client continues to use that of its token.

    A relay has another address than its upstream, and a client can move between them.
    """
    await ofrep.put("plan", BY_PLAN)
    first = await ofrep.all(PRO)
    token = await ofrep.service.token(Scope.EVALUATE, environments=("local",))

    other_token = await _again(replace(ofrep, token=token), first.etag)
    other_host = await ofrep.all(PRO, headers={"If-None-Match": first.etag, "Host": "flags"})

    assert (other_token.status, other_host.status) == (200, 304)
    assert other_token.stream != first.stream


async def test_c28_etag_changes_when_a_flag_turns(
    ofrep: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    await ofrep.put("later", _later({"var": "$flagd.timestamp"}))

    def at(now: float) -> None:
        monkeypatch.setattr("app.flags.ofrep.handlers.time.time", lambda: now)

    first = await ofrep.all(PRO)
    at(TURN + 0.9)
    before = await _again(ofrep, first.etag)
    at(TURN + 1.1)
    then = await _again(ofrep, first.etag)
    at(TURN + 9)
    after = await _again(ofrep, then.etag)

    assert (before.status, then.status, after.status) == (304, 200, 304)
    assert (first.flags["later"]["value"], then.flags["later"]["value"]) == (False, True)


async def test_c28_etag_of_a_clock_rule_depends_on_the_outcome(
    ofrep: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    # It is not known when the result of `max` changes.
    later = _later({"max": [{"var": "$flagd.timestamp"}, 0]})
    await ofrep.put("clock", BY_CLOCK)
    await ofrep.put("later", later)
    first = await ofrep.all(PRO)
    same_outcome = await _again(ofrep, first.etag, {"context": {"other": 1}})
    monkeypatch.setattr("app.flags.ofrep.handlers.time.time", lambda: TURN + 1.5)

    then = await _again(ofrep, first.etag)

    assert same_outcome.status == 304
    assert (then.status, then.flags["later"]["value"]) == (200, True)
    assert first.flags["later"]["value"] is False


def _later(clock: Any) -> dict[str, Any]:
    return SWITCH | {"targeting": {"if": [{">": [clock, TURN]}, "on", "off"]}}


async def test_tag_is_the_same_on_every_instance(ofrep: Client, replica: Client) -> None:
    revision = await ofrep.put("plan", BY_PLAN)
    await replica.service.app[FOLLOWER].at_least("local", revision)
    # A load balancer may send the next request to another instance.
    address = {"Host": "flags.example"}

    here = await ofrep.all(PRO, headers=address)
    there = await replace(replica, token=ofrep.token).all(PRO, headers=address)

    assert (there.etag, there.raw) == (here.etag, here.raw)
