"""Sealing anew what older data keys have sealed: entries and history, a batch at a time.

No version moves, no revision is made and nobody is told, since nothing says anything else than
before; the hash chain holds, as it covers commitments. Each batch is one transaction, so whoever is
killed in between goes on with what is left. What a writer holds is passed over; a last round has
the environment's lock, under which nothing is written.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any

from app.database import Connection, Database, sql
from app.environments import service as environments
from app.secrets.envelope import EntryVersion
from app.secrets.models import Sealed
from app.secrets.vault import Vault

BATCH_ROWS = 500
# Of what one statement carries, so that it keeps to its time.
BATCH_BYTES = 2 * 1024 * 1024
_FIRST_ROWS = 50
_PAUSE_SECONDS = 0.1

Rows = Sequence[Mapping[str, Any]]


async def pending(connection: Connection, environment: str) -> int:
    """Return how many values older data keys have sealed that still open them."""
    older = await _older(connection, environment)
    row = await sql.count_sealed_by(connection, environment=environment, ids=older)
    total: int = row["entries"] + row["befores"] + row["afters"]
    return total


async def reseal(
    database: Database, vault: Vault, environment: str, report: Callable[[int], None]
) -> None:
    """Seal anew what older data keys have sealed, until nothing is left of them.

    Tells of each batch how many values it had. Raises NotFound; as the vault does.
    """
    for work in (_entries, _befores, _afters):
        limit = _FIRST_ROWS
        while True:
            done, limit = await database.transact(
                lambda c, work=work, limit=limit: _batch(c, vault, environment, work, limit)  # type: ignore[misc]
            )
            if not done:
                break
            report(done)
    while True:
        if await database.transact(lambda c: _rest(c, vault, environment, report)):
            return
        # Somebody holds a row who is no writer of ours.
        await asyncio.sleep(_PAUSE_SECONDS)


async def _rest(
    connection: Connection, vault: Vault, environment: str, report: Callable[[int], None]
) -> bool:
    """Do a batch of each kind while no writer can come between; tell whether nothing is left."""
    await environments.lock(connection, environment)
    for work in (_entries, _befores, _afters):
        done, _ = await _batch(connection, vault, environment, work, _FIRST_ROWS)
        report(done)
    return not await pending(connection, environment)


async def _batch(
    connection: Connection,
    vault: Vault,
    environment: str,
    work: Callable[[Connection, Vault, str, list[bytes], int], Awaitable[Sequence[Sealed]]],
    limit: int,
) -> tuple[int, int]:
    """Return how many values were sealed anew, and how many the next batch may have."""
    older = await _older(connection, environment)
    sealed = await work(connection, vault, environment, older, limit) if older else ()
    size = sum(len(each.content) for each in sealed)
    return len(sealed), min(BATCH_ROWS, max(1, BATCH_BYTES * len(sealed) // max(1, size)))


async def _older(connection: Connection, environment: str) -> list[bytes]:
    rows = sql.lock_older_data_keys(connection, environment=environment)
    return [row["id"] async for row in rows]


async def _entries(
    connection: Connection, vault: Vault, environment: str, ids: list[bytes], limit: int
) -> Sequence[Sealed]:
    rows = [
        row
        async for row in sql.lock_sealed_entries(
            connection, environment=environment, ids=ids, batch_size=limit
        )
    ]
    anew = await _anew(connection, vault, environment, rows)
    await sql.reseal_entries(
        connection,
        environment=environment,
        keys=[row["key"] for row in rows],
        sealed=[each.content for each in anew],
    )
    return anew


async def _befores(
    connection: Connection, vault: Vault, environment: str, ids: list[bytes], limit: int
) -> Sequence[Sealed]:
    rows = sql.lock_sealed_befores(connection, environment=environment, ids=ids, batch_size=limit)
    return await _of_history(connection, vault, environment, rows, sql.reseal_befores)


async def _afters(
    connection: Connection, vault: Vault, environment: str, ids: list[bytes], limit: int
) -> Sequence[Sealed]:
    rows = sql.lock_sealed_afters(connection, environment=environment, ids=ids, batch_size=limit)
    return await _of_history(connection, vault, environment, rows, sql.reseal_afters)


async def _of_history(
    connection: Connection,
    vault: Vault,
    environment: str,
    found: AsyncIterator[Mapping[str, Any]],
    write: Callable[..., Awaitable[Any]],
) -> Sequence[Sealed]:
    """Seal one side of changes anew, and write it."""
    rows = [row async for row in found]
    anew = await _anew(connection, vault, environment, rows)
    await write(
        connection,
        environment=environment,
        revisions=[row["revision"] for row in rows],
        keys=[row["key"] for row in rows],
        sealed=[each.content for each in anew],
    )
    return anew


async def _anew(
    connection: Connection, vault: Vault, environment: str, rows: Rows
) -> Sequence[Sealed]:
    """Return the same values in the same entry_versions, sealed by the active data key."""
    if not rows:
        return ()
    entry_versions = [
        EntryVersion(environment=environment, key=row["key"], version=row["version"])
        for row in rows
    ]
    sealed = [
        Sealed(entry_version=entry_version, content=row["sealed"])
        for entry_version, row in zip(entry_versions, rows, strict=True)
    ]
    opened = await vault.open(connection, sealed)
    return await vault.seal(connection, list(zip(opened, entry_versions, strict=True)))
