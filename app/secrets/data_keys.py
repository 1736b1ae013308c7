"""Rewrap, renew and shred data keys, as the owner of the tables: the app role may only add them.

Each step is one short transaction. A command that is run again continues with the remaining keys.
"""

from collections.abc import Callable, Sequence
from functools import partial

from app.access.events import AccessEvent, Origin
from app.access.log import AccessLog
from app.database import Connection, Database, sql
from app.environments import service as environments
from app.secrets.key_wrapping import StoredDataKey, Wrapped
from app.secrets.vault import Vault, list_data_keys

# Called with the number of keys done and the total.
Report = Callable[[int, int], None]


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
