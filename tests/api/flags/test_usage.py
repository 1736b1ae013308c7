"""Counts of evaluations are written once. They wait for as long as the database is unavailable."""

import asyncio
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from structlog.testing import capture_logs

from app.database import Database, sql
from app.evaluation.body_block import BodyBlock
from app.evaluation.engine import Flag, FlagSet
from app.flags import usage as counting
from app.flags.last_evaluations import LastEvaluationsCache
from app.flags.usage import BLOCKS_BYTES_MAX, Usage
from app.flags.usage_report import read_flag_use, read_hours
from app.settings import Settings, Target
from tests.conftest import Server, Service
from tests.factories import flag


def outcome(key: str = "new") -> bytes:
    definition = flag(defaultVariant="on")
    built = Flag(key, definition, FlagSet({}, "v3", {}))
    return built.evaluate({}, 0).body


@pytest.fixture
async def database(service: Service, settings: Settings) -> AsyncIterator[Database]:
    """A closed pool, as while the database is unavailable."""
    del service
    database = Database(settings.database)
    yield database
    await database.close()


@pytest.fixture
def refusing(server: Server) -> Iterator[None]:
    """A table that refuses every row, with an unexpected error."""
    change = "alter table flagstone.flag_usage"
    with server.admin("suite") as connection:
        connection.execute(f"{change} add constraint refuses check (false) not valid".encode())
        try:
            yield
        finally:
            connection.execute(f"{change} drop constraint if exists refuses".encode())


def rows(server: Server) -> dict[str, Any]:
    with server.admin("suite") as connection:
        counts = connection.execute("select key, count from flagstone.flag_usage").fetchall()
    return {str(key): count for key, count in counts}


async def test_counts_without_a_database_are_flushed_later(
    database: Database, database_target: Target, server: Server
) -> None:
    usage, once = Usage(database), outcome()

    for _ in range(3):
        usage.count("local", once)
        await usage.run_once()
    before = rows(server)
    await database.open(database_target)
    await usage.run_once()
    await usage.run_once()

    assert (before, rows(server)) == ({}, {"new": 3})
    assert usage.totals() == {("local", "STATIC"): 3}


async def test_outcomes_of_changed_flags_are_released(
    database: Database, database_target: Target, server: Server
) -> None:
    usage, bodies = Usage(database), [outcome() for _ in range(100)]
    references = sum(map(sys.getrefcount, bodies))

    for body in bodies:
        usage.count("local", body)
        await usage.run_once()
    del body

    assert sum(map(sys.getrefcount, bodies)) == references
    await database.open(database_target)
    await usage.run_once()
    assert rows(server) == {"new": 100}


async def test_counts_waiting_for_a_connection_are_flushed_at_stop(
    database: Database, database_target: Target, server: Server
) -> None:
    await database.open(database_target)
    usage = Usage(database)
    usage.count("local", outcome())

    async with AsyncExitStack() as busy:
        for _ in range(database.use.limit):
            await busy.enter_async_context(database.connection())
        adding = asyncio.create_task(usage.run())
        await asyncio.sleep(0.05)
        adding.cancel()
        await asyncio.sleep(0.05)
    with suppress(asyncio.CancelledError):
        await adding

    assert rows(server) == {"new": 1}


async def test_parts_are_counted_without_retaining_all(database: Database) -> None:
    usage, body = Usage(database), outcome()
    size = BLOCKS_BYTES_MAX // 10
    blocks = [BodyBlock([body] * (size // len(body))) for _ in range(100)]
    before = [sys.getrefcount(block) for block in blocks]

    for block in blocks * 2:
        usage.count_block("local", block)
    del block

    after = [sys.getrefcount(block) for block in blocks]
    retained = [blocks[n] for n in range(100) if after[n] > before[n]]
    assert 0 < sum(len(block.joined) for block in retained) <= BLOCKS_BYTES_MAX
    assert usage.totals() == {("local", "STATIC"): 200 * (size // len(body))}


async def test_number_of_waiting_rows_is_bounded(
    database: Database,
    database_target: Target,
    server: Server,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(counting, "WAITING_MAX", 2)
    usage = Usage(database)

    with capture_logs() as logged:
        for key in ("a", "b", "c", "a"):
            usage.count("local", outcome(key))
            await usage.run_once()
    await database.open(database_target)
    await usage.run_once()

    assert rows(server) == {"a": 2, "b": 1}
    assert [event["evaluations"] for event in logged if event["event"] == "usage_lost"] == [1]
    assert usage.totals() == {("local", "STATIC"): 4}


async def test_usage_is_added_while_a_writer_holds_the_environment(
    database: Database, database_target: Target, server: Server
) -> None:
    """A row that refers to the environment needs a weaker lock than the writer holds."""
    await database.open(database_target)
    usage = Usage(database)
    usage.count("local", outcome("a"))

    async with database.connection() as connection, connection.transaction():
        await sql.lock_environment(connection, name="local")
        await usage.run_once()

    assert rows(server) == {"a": 1}


async def test_unexpected_usage_error_is_logged_and_ends_nothing(
    database: Database, database_target: Target, server: Server, refusing: None
) -> None:
    del refusing
    await database.open(database_target)
    usage = Usage(database)

    usage.count("local", outcome("poison"))
    with capture_logs() as logged:
        await usage.run_once()
    with server.admin("suite") as connection:
        connection.execute("alter table flagstone.flag_usage drop constraint refuses")
    usage.count("local", outcome("good"))
    await usage.run_once()

    errors = [line["error"] for line in logged if line["event"] == "usage_not_added"]
    assert errors == ["DatabaseBugError"]
    assert rows(server) == {"good": 1}


async def test_hours_have_counts_by_variant_for_a_week(
    database: Database, database_target: Target, server: Server
) -> None:
    await database.open(database_target)
    now = datetime.now(UTC)
    with server.admin("suite") as connection:
        for days in (1, 8):
            connection.execute(
                "insert into flagstone.flag_usage_hours values"
                " ('local', 'new', date_trunc('hour', %s::timestamptz, 'UTC'), 'off', 5)",
                (now - timedelta(days=days),),
            )
    usage = Usage(database)

    for _ in range(3):
        usage.count("local", outcome())
    await usage.run_once()
    usage.count("local", outcome())
    usage.count("local", outcome("other"))
    await usage.run_once()

    async with database.connection() as connection_of_app:
        await connection_of_app.execute(
            "update environments set created_at = $1 where name = 'local'",
            now - timedelta(days=30),
        )
        hours = await read_hours(connection_of_app, "local", "new", now)
        uses = await read_flag_use(connection_of_app, "local", "new")
    # The hour may change between the two flushes.
    counts = Counter[str]()
    for hour in hours:
        counts[hour.variant] += hour.evaluations
    assert counts == {"off": 5, "on": 4}
    assert [(use.reason, use.variant, use.count) for use in uses] == [("STATIC", "on", 4)]
    with server.admin("suite") as connection:
        query = "select count(*) from flagstone.flag_usage_hours where variant = 'off'"
        assert connection.execute(query).fetchone() == (1,)


async def test_waiting_evaluations_of_a_flag_are_counted(database: Database) -> None:
    usage = Usage(database)
    block = BodyBlock([outcome(), outcome("other")])

    usage.count("local", outcome())
    usage.count("staging", outcome())
    usage.count("local", outcome("newer"))
    usage.count_block("local", block)
    before = usage.waiting("local", "new")
    usage.totals()

    assert (before, usage.waiting("local", "new"), usage.waiting("local", "ne")) == (2, 2, 0)


async def test_last_evaluations_without_a_database_are_unknown(database: Database) -> None:
    assert await LastEvaluationsCache(database).get("local") is None
