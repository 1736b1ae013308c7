"""Change sets are announced to other instances after the commit, or found when these poll."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import psycopg
import pytest

from app.configuration.changes import service as changes
from app.configuration.changes.authority import OPERATOR_AUTHORITY
from app.configuration.changes.models import Content, Kind, Operation
from app.configuration.snapshots.reading import FOLLOWER
from app.database import Commit, Database
from app.http.keys import DATABASE
from app.settings import Settings, Target
from tests.conftest import Server, Service
from tests.waiting import HANG_SECONDS


@pytest.fixture
async def database(
    service: Service, settings: Settings, database_target: Target
) -> AsyncIterator[Database]:
    """A pool as in a command, without background tasks."""
    del service
    async with _opened(settings, database_target) as database:
        yield database


@asynccontextmanager
async def _opened(settings: Settings, target: Target) -> AsyncIterator[Database]:
    database = Database(settings.database)
    await database.open(target)
    try:
        yield database
    finally:
        await database.close()


async def _write(database: Database, key: str) -> int:
    content = Content(kind=Kind.SETTING, value=1)
    operation = Operation(key=key, content=content, expected=None)
    change_set = await database.transact(
        lambda c: changes.apply(c, "local", [operation], actor="test", authority=OPERATOR_AUTHORITY)
    )
    return change_set.revision


@contextmanager
def _listening(server: Server) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    with server.admin("suite") as connection:
        connection.execute("listen flagstone")
        yield connection


def _payloads(
    connection: psycopg.Connection[tuple[object, ...]], *, timeout: float = HANG_SECONDS
) -> list[str]:
    """Return the next notifications that arrive together."""
    return [item.payload for item in connection.notifies(timeout=timeout, stop_after=1)]


async def test_command_announces_its_change_set_itself(database: Database, server: Server) -> None:
    with _listening(server) as listener:
        await _write(database, "a")

        assert await asyncio.to_thread(_payloads, listener) == ["local:1"]


async def test_waiting_change_sets_share_one_announcement(
    database: Database, server: Server
) -> None:
    database.announcer.is_running = True  # as in a service: a task sends later
    with _listening(server) as listener:
        for key in "abc":
            await _write(database, key)
        assert await asyncio.to_thread(_payloads, listener, timeout=0) == []

        assert await database.announcer.send()

        assert await asyncio.to_thread(_payloads, listener) == ["local:3"]


async def test_rolled_back_change_set_is_not_announced(database: Database, server: Server) -> None:
    async def write_and_fail(connection: object) -> None:
        operation = Operation(key="a", content=Content(kind=Kind.SETTING, value=1), expected=None)
        await changes.apply(
            connection,  # type: ignore[arg-type]
            *("local", [operation]),
            actor="test",
            authority=OPERATOR_AUTHORITY,
        )
        raise LookupError

    with _listening(server) as listener:
        with pytest.raises(LookupError):
            await database.transact(write_and_fail)
        await _write(database, "b")

        assert await asyncio.to_thread(_payloads, listener) == ["local:1"]


async def test_change_set_of_a_killed_process_is_polled(
    service: Service, database: Database, server: Server
) -> None:
    """A process may die between the commit and the notification."""
    database.announcer.is_running = True  # nothing sends, as if the process were dead
    follower = service.app[FOLLOWER]
    with _listening(server) as listener:
        await _write(database, "a")

        async with asyncio.timeout(HANG_SECONDS):
            while "a" not in follower.get("local").entries:
                await follower.next_change.wait()

        assert await asyncio.to_thread(_payloads, listener, timeout=0) == []


async def test_service_announces_a_write_after_the_commit(service: Service, server: Server) -> None:
    with _listening(server) as listener:
        await _write(service.app[DATABASE], "a")

        assert await asyncio.to_thread(_payloads, listener) == ["local:1"]


async def test_announcement_waits_for_a_database_that_is_away(
    database: Database, database_target: Target, server: Server
) -> None:
    database.announcer.is_running = True
    await _write(database, "a")
    await database.close()

    assert not await database.announcer.send()

    await database.open(database_target)
    with _listening(server) as listener:
        assert await database.announcer.send()
        assert await asyncio.to_thread(_payloads, listener) == ["local:1"]


async def test_announcement_that_postgresql_refuses_is_retried(database: Database) -> None:
    """The write that it announces is committed, so it succeeds."""
    too_long = Commit(environment="e" * 8_000, revision=1)
    database.announcer.add([too_long])

    assert await _write(database, "a") == 1
    assert not await database.announcer.send()
