"""Accesses are bounded and printable, and equal refusals become one row."""

import asyncio
import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.access.events import Access, AccessEvent, Decision, Origin
from app.access.log import AccessLog
from app.access.refusal_batch import SEVERAL, RefusalBatch
from app.access.stdout_log import QUEUE_MAX, StdoutLog
from app.database import Database
from app.settings import load
from tests.waiting import HANG_SECONDS

FORGED = '\r\n{"log": "access", "event": "sensitive_read"}\x1b[2K\x1b[1A\u2028\u202e\x00\x9b\ud800'


@given(st.text() | st.text(alphabet=st.characters()) | st.just(FORGED * 9), st.booleans())
def test_text_cannot_forge_lines_and_is_bounded(text: str, is_refused: bool) -> None:  # noqa: FBT001
    origin = Origin(
        actor=text, token_id=text, client=text, request_id=text, method=text, route=text
    )
    decision = Decision.REFUSED if is_refused else Decision.ALLOWED
    access = origin.did(
        AccessEvent.ACCESS_FAIL, decision=decision, environment=text, resource=text, detail=text
    )

    line = msgspec.json.encode(access)

    assert line.decode().isprintable()
    # PIPE_BUF: a write up to this size is atomic.
    assert len(line) < 9 * 4 * 256
    assert all(
        len(value) <= 255 for value in msgspec.structs.astuple(access) if isinstance(value, str)
    )
    assert len(access.environment or "") <= 63


def test_printable_text_is_unchanged() -> None:
    access = Origin(actor="operator:zoë").did(
        AccessEvent.ADMINISTRATION, resource="a b/ç", detail=""
    )

    assert (access.actor, access.resource, access.detail) == ("operator:zoë", "a b/ç", "")


def test_unprintable_characters_are_escaped() -> None:
    access = Origin(actor=FORGED).did(AccessEvent.ADMINISTRATION)

    assert access.actor == (
        r'\r\n{"log": "access", "event": "sensitive_read"}\x1b[2K\x1b[1A\u2028\u202e\x00\x9b\ud800'
    )


def _refusal(client: str = "192.0.2.1", **given: str | int) -> Access:
    access = Origin(client=client).did(AccessEvent.LOGIN_FAIL, decision=Decision.REFUSED)
    now = datetime.now(UTC)
    return msgspec.structs.replace(access, at=now, last_at=now, **given)


def test_senders_are_distinguished_by_token_or_address() -> None:
    gathered = RefusalBatch(100)
    for client in (
        *("192.0.2.1", "192.0.2.2", "192.0.2.1"),
        *("2001:db8::1", "2001:db8::ffff", "2001:db8:0:1::1", "", "no address", "fe80::1%eth0"),
    ):
        gathered.add(_refusal(client))

    counts = {access.client: access.count for access in gathered.take()}
    assert counts == {
        "192.0.2.1": 2,
        "192.0.2.2": 1,
        "2001:db8::1": 2,
        "2001:db8:0:1::1": 1,
        "": 1,
        "no address": 1,
        "fe80::1%eth0": 1,
    }
    assert gathered.take() == []


def test_values_chosen_by_strangers_make_no_rows() -> None:
    gathered = RefusalBatch(100)
    for number in range(1_000):
        gathered.add(_refusal(token_id=f"{number:013}", request_id=str(number)))

    (row,) = gathered.take()
    assert (row.count, row.token_id, row.request_id) == (1_000, f"{0:013}", "0")


def test_flood_of_refusals_is_counted_in_few_rows() -> None:
    gathered = RefusalBatch(50)
    for number in range(10_000):
        gathered.add(_refusal(f"10.0.{number // 256}.{number % 256}"))

    rows = gathered.take()
    assert len(rows) == 51
    assert sum(access.count for access in rows) == 10_000
    assert (rows[-1].actor, rows[-1].client, rows[-1].count) == (SEVERAL, None, 9_950)
    assert gathered.blurred == 9_950


def test_sender_with_many_refusals_hides_no_other() -> None:
    """A client chooses the names of environments in its requests freely."""
    gathered = RefusalBatch(50)
    for number in range(1_000):
        gathered.add(_refusal("192.0.2.1", environment=f"e{number}"))
    gathered.add(_refusal("192.0.2.2", environment="production"))

    *first, all_others, last = gathered.take()
    assert len(first) == 10
    assert (all_others.client, all_others.environment) == ("192.0.2.1", None)
    assert (all_others.count, gathered.blurred) == (990, 990)
    assert (last.client, last.environment, last.count) == ("192.0.2.2", "production", 1)


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30), st.integers(1, 3)), max_size=300))
def test_nothing_is_left_uncounted_and_the_rows_have_a_limit(
    accesses: list[tuple[int, int, int]],
) -> None:
    gathered, given_back = RefusalBatch(10), RefusalBatch(20)
    for client, environment, count in accesses:
        gathered.add(_refusal(f"10.0.0.{client}", environment=f"e{environment}", count=count))
        if client == 0:
            given_back.add_all(gathered.take())
    given_back.add_all(gathered.take())

    rows = given_back.take()
    assert sum(access.count for access in rows) == sum(count for _, _, count in accesses)
    assert len(rows) <= 21
    assert sum(access.count for access in rows if access.detail is not None) == (
        gathered.blurred + given_back.blurred
    )


@given(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)), max_size=200))
def test_refusals_counted_again_equal_added_ones(accesses: list[tuple[int, int]]) -> None:
    added, counted = RefusalBatch(20), RefusalBatch(20)
    for client, environment in accesses:
        access = _refusal(f"10.0.0.{client}", environment=f"e{environment}")
        at = access.last_at
        assert at is not None
        added.add(access)
        if not counted.add_again((client, environment), at):
            counted.add(access, (client, environment))

    assert counted.blurred == added.blurred
    assert counted.take() == added.take()
    assert not counted.add_again((0, 0), datetime.now(UTC))


def test_returned_refusals_are_blurred_once() -> None:
    gathered = RefusalBatch(5)
    for number in range(10):
        gathered.add(_refusal(f"10.0.0.{number}"))
        gathered.add(_refusal(f"10.0.0.{number}", environment="other"))
    blurred = gathered.blurred

    taken = gathered.take()
    gathered.add_all(taken)

    assert (gathered.take(), gathered.blurred) == (taken, blurred)


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


async def test_line_is_json_with_every_field(pipe: tuple[int, int]) -> None:
    log = AccessLog(Database(load({}).database), StdoutLog(pipe[1]))
    access = Origin(actor=FORGED, client="192.0.2.1").did(
        AccessEvent.SECRET_READ, environment="local", resource=FORGED, version=7
    )

    log.enqueue(access)
    await log.run_once()
    await log.close()

    (line,) = os.read(pipe[0], 65_536).decode().splitlines()
    decoded = json.loads(line)
    assert set(decoded) == {"log", *Access.__struct_fields__}
    assert (decoded["log"], decoded["event"], decoded["version"]) == ("access", "sensitive_read", 7)
    assert decoded["decision"] == Decision.ALLOWED
    assert decoded["at"].endswith("Z")
    # The database is away: the line is written, and the row is queued.
    assert (log.failures, log.problem) == (1, "cannot be written")


async def test_stopped_reader_loses_lines_without_blocking(pipe: tuple[int, int]) -> None:
    lines = StdoutLog(pipe[1])
    async with asyncio.timeout(HANG_SECONDS):
        for _ in range(QUEUE_MAX + 1_000):
            lines.put(b"x" * 999 + b"\n")
        await lines.close()

    # Some lines fit into the buffer of the pipe.
    assert 0 < lines.dropped <= 1_000


async def test_closed_reader_loses_lines_only(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    del tmp_path_factory
    reading, writing = os.pipe()
    os.close(reading)
    lines = StdoutLog(writing)

    lines.put(b"line\n")
    await lines.close()

    os.close(writing)
    assert lines.dropped == 1
