"""Trim the access log: an operator does it as the owner role. The service cannot."""

from datetime import datetime

from app.access.events import AccessEvent, Origin
from app.access.log import AccessLog
from app.database import Connection, Database, sql
from app.database.role_names import OWNER
from app.errors import Forbidden, invalid

_ROWS_AT_ONCE = 5_000


async def trim(database: Database, log: AccessLog, *, before: datetime, origin: Origin) -> int:
    """Delete the rows before a time and record that. Return the number of deleted rows.

    `database` must be opened as the migrator, which may become the owner. Raises Forbidden for any
    other role, Invalid for a time in the future, and Unavailable.
    """

    async def begin(connection: Connection) -> int:
        await _become_owner(connection)
        if before > await connection.fetchval("select current_timestamp"):
            # The record of the trimming would be deleted too.
            raise invalid("before", "must not be in the future")
        # Before the first deletion: a trimming that stops halfway is recorded too.
        detail = f"trimmed of all before {before.isoformat()}"
        await log.record(
            connection, origin.did(AccessEvent.ADMINISTRATION, resource="access_log", detail=detail)
        )
        return await delete(connection)

    async def delete(connection: Connection) -> int:
        await _become_owner(connection)
        deleted: int = await sql.delete_accesses(connection, before=before, rows_max=_ROWS_AT_ONCE)
        return deleted

    trimmed = last = await database.transact(begin)
    while last == _ROWS_AT_ONCE:
        last = await database.transact(delete)
        trimmed += last
    return trimmed


async def _become_owner(connection: Connection) -> None:
    """Become the owner for this transaction, if there are roles. Raises Forbidden."""
    is_member = await connection.fetchval(
        "select pg_has_role(oid, 'member') from pg_roles where rolname = $1", OWNER
    )
    if is_member is False:
        raise Forbidden(
            "trimming_refused",
            "Only the migrator may trim the access log. Set DATABASE_MIGRATOR_URL.",
        )
    if is_member:
        await connection.execute(f"set local role {OWNER}")
