"""Rewrap, renew and shred data keys, and reseal values, as the owner of the tables.

Each step is one short transaction. A command that is run again continues with the remaining keys or
values. The app role may only add data keys.

Resealing replaces the values that older data keys sealed: entries and their history, one batch at a
time. Versions, revisions and the hash chain stay as they are, because the chain covers commitments.
A batch skips rows that a writer has locked; the last round locks the environment against writers.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from app.access.events import AccessEvent, Origin
from app.access.log import AccessLog
from app.database import Connection, Database, sql
from app.environments import service as environments
from app.secrets.envelope import EntryVersion, Sealed
from app.secrets.key_wrapping import StoredDataKey, Wrapped
from app.secrets.vault import Vault, list_data_keys

# Called with the number of keys done and the total.
Report = Callable[[int, int], None]
BATCH_ROWS = 500
# Limits the size of one statement, so that it stays within its timeout.
BATCH_BYTES = 2 * 1024 * 1024
_FIRST_ROWS = 50
_PAUSE_SECONDS = 0.1


async def rewrap(
    database: Database, vault: Vault, log: AccessLog, *, origin: Origin, report: Report
) -> int:
    """Wrap every data key by the active key-encryption key; return how many had another one.

    The sealed values stay as they are. Raises KeysMissingError.
    """
    async with database.connection() as connection:
        stored = [key for key in await list_data_keys(connection) if not key.destroyed_at]
    remaining = [key for key in stored if key.kek_id != vault.active_kek_id]
    for done, key in enumerate(remaining, start=1):
        wrapped = await vault.keys.rewrap(key)
        store = partial(_rewrap, vault=vault, log=log, origin=origin, key=key, wrapped=wrapped)
        await database.transact(store)
        report(done, len(remaining))
    return len(remaining)


async def _rewrap(
    connection: Connection,
    *,
    vault: Vault,
    log: AccessLog,
    origin: Origin,
    key: StoredDataKey,
    wrapped: Wrapped,
) -> None:
    if not await sql.rewrap_data_key(
        connection,
        environment=key.environment,
        id=key.id,
        old_kek_id=key.kek_id,
        kek_id=wrapped.kek_id,
        wrapped=wrapped.wrapped,
    ):
        return  # Another process has rewrapped or destroyed it.
    await vault.keys.confirm(wrapped)
    detail = f"data key {key.id.hex()} wrapped by {wrapped.kek_id}"
    access = origin.did(AccessEvent.ADMINISTRATION, environment=key.environment, detail=detail)
    await log.record(connection, access)


async def renew(
    connection: Connection, vault: Vault, log: AccessLog, environment: str, *, origin: Origin
) -> bool:
    """Make a new active data key; return False if the environment has none to replace.

    The retired data key still opens the values that it sealed. Raises NotFound, Unavailable.
    """
    await environments.lock(connection, environment)
    if await sql.find_active_data_key(connection, environment=environment) is None:
        return False
    await sql.retire_data_key(connection, environment=environment)
    await vault.add_data_key(connection, environment)
    access = origin.did(
        AccessEvent.ADMINISTRATION, environment=environment, detail="data key renewed"
    )
    await log.record(connection, access)
    return True


async def shred(
    connection: Connection, log: AccessLog, environment: str, *, origin: Origin
) -> Sequence[bytes]:
    """Destroy an environment's data keys and so all its past and present secrets; return the ids.

    The next secret gets a new data key. Raises NotFound.
    """
    await environments.lock(connection, environment)
    destroyed = [
        row["id"] async for row in sql.destroy_data_keys(connection, environment=environment)
    ]
    if destroyed:
        detail = f"{len(destroyed)} data keys destroyed"
        access = origin.did(AccessEvent.ADMINISTRATION, environment=environment, detail=detail)
        await log.record(connection, access)
    return destroyed


class _Column(NamedTuple):
    """A column of sealed values: how to lock some of its rows, how to update them, by which key."""

    lock: Callable[..., AsyncIterator[Mapping[str, Any]]]
    update: Callable[..., Awaitable[Any]]
    has_revisions: bool = True


_COLUMNS = (
    _Column(sql.lock_sealed_entries, sql.reseal_entries, has_revisions=False),
    _Column(sql.lock_sealed_befores, sql.reseal_befores),
    _Column(sql.lock_sealed_afters, sql.reseal_afters),
)


async def pending(connection: Connection, environment: str) -> int:
    """Count the values that older data keys sealed and can still open."""
    older = await _older(connection, environment)
    row = await sql.count_sealed_by(connection, environment=environment, ids=older)
    total: int = row["entries"] + row["befores"] + row["afters"]
    return total


async def reseal(
    database: Database, vault: Vault, environment: str, report: Callable[[int], None]
) -> None:
    """Reseal values of older data keys; report each batch. Raises NotFound, and as the vault."""
    for column in _COLUMNS:
        limit = _FIRST_ROWS
        while True:
            count, limit = await database.transact(
                lambda c, column=column, limit=limit: _batch(c, vault, environment, column, limit)  # type: ignore[misc]
            )
            if not count:
                break
            report(count)
    while True:
        if await database.transact(lambda c: _last_round(c, vault, environment, report)):
            return
        # A session that does not lock the environment holds one of the rows.
        await asyncio.sleep(_PAUSE_SECONDS)


async def _last_round(
    connection: Connection, vault: Vault, environment: str, report: Callable[[int], None]
) -> bool:
    """Reseal one batch per column under the environment's lock; return whether none is left."""
    await environments.lock(connection, environment)
    for column in _COLUMNS:
        count, _ = await _batch(connection, vault, environment, column, _FIRST_ROWS)
        report(count)
    return not await pending(connection, environment)


async def _batch(
    connection: Connection, vault: Vault, environment: str, column: _Column, limit: int
) -> tuple[int, int]:
    """Return how many values were resealed, and the row limit of the next batch."""
    older = await _older(connection, environment)
    if not older:
        return 0, limit
    locked = column.lock(connection, environment=environment, ids=older, batch_size=limit)
    rows = [row async for row in locked]
    if not rows:
        return 0, limit
    resealed = await _resealed(connection, vault, environment, rows)
    revisions = {"revisions": [row["revision"] for row in rows]} if column.has_revisions else {}
    await column.update(
        connection,
        environment=environment,
        keys=[row["key"] for row in rows],
        sealed=[value.content for value in resealed],
        **revisions,
    )
    size = sum(len(value.content) for value in resealed)
    return len(rows), min(BATCH_ROWS, max(1, BATCH_BYTES * len(rows) // max(1, size)))


async def _older(connection: Connection, environment: str) -> list[bytes]:
    rows = sql.lock_older_data_keys(connection, environment=environment)
    return [row["id"] async for row in rows]


async def _resealed(
    connection: Connection, vault: Vault, environment: str, rows: Sequence[Mapping[str, Any]]
) -> Sequence[Sealed]:
    """Return the values of the rows, sealed by the active data key for the same entry versions."""
    sealed = [
        Sealed(
            entry_version=EntryVersion(
                environment=environment, key=row["key"], version=row["version"]
            ),
            content=row["sealed"],
        )
        for row in rows
    ]
    plain = await vault.open(connection, sealed)
    targets = [value.entry_version for value in sealed]
    return await vault.seal(connection, list(zip(plain, targets, strict=True)))
