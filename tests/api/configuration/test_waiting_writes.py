"""A write that waits for the lock of its environment sees what was committed meanwhile."""

import asyncio
from collections.abc import AsyncIterator

import psycopg
import pytest

from app.configuration.changes import service as changes
from app.configuration.changes.authority import OPERATOR_AUTHORITY
from app.configuration.changes.models import Content, Kind, Operation
from app.configuration.changes.rows import lock_entries
from app.database import Connection, Database
from app.settings import Settings, Target
from tests.conftest import Server, Service
from tests.waiting import until

LOCAL = "/v1/environments/local"
_BLOCKED = (
    "select count(*) from pg_stat_activity where datname = 'suite' and wait_event_type = 'Lock'"
)


@pytest.fixture
async def other(
    service: Service, settings: Settings, database_target: Target
) -> AsyncIterator[Database]:
    """The pool of another process."""
    del service
    database = Database(settings.database)
    await database.open(database_target)
    yield database
    await database.close()


async def _blocked(connection: psycopg.Connection[tuple[object, ...]], count: int) -> None:
    async def are_blocked() -> bool:
        return connection.execute(_BLOCKED).fetchone() == (count,)

    await until(are_blocked)


@pytest.mark.parametrize("header", [{}, {"Idempotency-Key": "k"}])
@pytest.mark.parametrize(
    ("key", "condition"), [("old", {"If-Match": '"1"'}), ("new", {"If-None-Match": "*"})]
)
async def test_entry_that_changed_meanwhile_is_stale(
    service: Service,
    other: Database,
    server: Server,
    key: str,
    condition: dict[str, str],
    header: dict[str, str],
) -> None:
    path = f"{LOCAL}/configurations"
    await service.client.put(f"{path}/old", json={"value": 0}, headers={"If-None-Match": "*"})
    written, may_end = asyncio.Event(), asyncio.Event()

    async def write_and_hold(connection: Connection) -> None:
        operation = Operation(
            key=key, content=Content(kind=Kind.SETTING, value="other"), expected=None
        )
        await changes.apply(
            connection, "local", [operation], actor="test", authority=OPERATOR_AUTHORITY
        )
        written.set()
        await may_end.wait()

    holding = asyncio.create_task(other.transact(write_and_hold))
    await written.wait()
    waiting = asyncio.create_task(
        service.client.put(f"{path}/{key}", json={"value": "late"}, headers=condition | header)
    )
    with server.admin("suite") as connection:
        await _blocked(connection, 1)
    may_end.set()
    await holding
    answer = await waiting

    assert answer.status == 412
    assert (await answer.json(content_type=None))["code"] == "version_stale"


async def test_sealed_value_is_read_under_the_lock(
    service: Service, other: Database, server: Server
) -> None:
    """Resealing changes a stored value without a new revision."""
    secret = {"kind": "secret", "value": "s3cret"}
    await service.client.put(
        f"{LOCAL}/configurations/s", json=secret, headers={"If-None-Match": "*"}
    )
    with server.admin("suite") as connection:
        (sealed,) = connection.execute(
            "select sealed from flagstone.configurations where key = 's'"
        ).fetchone() or (b"",)
        assert isinstance(sealed, bytes)
        resealed = sealed[:-1] + bytes([sealed[-1] ^ 1])

        async def read(connection: Connection) -> bytes:
            locked = await lock_entries(connection, "local", ["s"])
            content = locked.entries["s"].content
            assert content is not None
            assert content.sealed is not None
            return content.sealed.content

        with server.admin("suite") as holder, holder.transaction():
            holder.execute("select 1 from flagstone.environments where name = 'local' for update")
            reading = asyncio.create_task(other.transact(read))
            await _blocked(connection, 1)
            holder.execute(
                "update flagstone.configurations set sealed = %s where key = 's'", [resealed]
            )

        assert await reading == resealed
