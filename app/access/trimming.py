"""Trimming the access log: by an operator, as the role that owns it, and never by the service."""

from datetime import datetime

from app.access.events import AccessEvent, Origin
from app.access.log import AccessLog
from app.database import Connection, Database, sql
from app.database.role_names import OWNER
from app.errors import Forbidden, invalid

_ROWS_AT_ONCE = 5_000


async def trim(database: Database, log: AccessLog, *, before: datetime, origin: Origin) -> int:
    """Delete what is older, and have the log itself tell of that; return how many rows went.

    `database` is opened as the migrator, which may become the owner. Raises Forbidden for any
    other role, Invalid for a time that is still to come, and Unavailable.
    """

    async def begin(connection: Connection) -> int:
        await _become_owner(connection)
        if before > await connection.fetchval("select current_timestamp"):
            # What tells of the trimming would go with it.
            raise invalid("before", "must not be in the future")
        # Before the first row goes: one that is stopped half-way has been told of.
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
    """Be the owner until the transaction ends; where no roles were provisioned, one does it all.

    Raises Forbidden.
    """
    is_member = await connection.fetchval(
        "select pg_has_role(oid, 'member') from pg_roles where rolname = $1", OWNER
    )
    if is_member is False:
        raise Forbidden(
            "trimming_refused", "Only the migrator may trim: DATABASE_MIGRATOR_URL has to be set."
        )
    if is_member:
        await connection.execute(f"set local role {OWNER}")
