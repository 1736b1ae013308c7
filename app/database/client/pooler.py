"""Poolers: recognize one that loses prepared statements before it makes requests fail.

PgBouncer before 1.21, or with `max_prepared_statements = 0`, passes the names of statements on. In
transaction mode the next use of a name may reach another server connection, which does not know it.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import asyncpg

from app.database.client.primary import Session
from app.database.client.statements import sql
from app.errors import ForeseenError

MISCONFIGURED = "pooler_misconfigured"
# 26000: the name is unknown to this server connection. 42P05: another client has used it there.
LOST_STATEMENTS = (asyncpg.InvalidSQLStatementNameError, asyncpg.DuplicatePreparedStatementError)
_STARTUP_PARAMETER = "unsupported startup parameter"


class PoolerError(ForeseenError):
    """The settings and the pooler do not fit; trying again changes nothing."""

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"DATABASE_URL leads through a pooler that {reason}: set DATABASE_POOLER=transaction, "
            "and either PgBouncer's max_prepared_statements above 0 (1.21 or later) or "
            "DATABASE_STATEMENT_CACHE=0"
        )


def explain(error: BaseException) -> PoolerError | None:
    """Return what an error says about the pooler, or None where it is about something else."""
    if isinstance(error, PoolerError):
        return error
    if isinstance(error, LOST_STATEMENTS):
        return PoolerError("loses prepared statements")
    if isinstance(error, asyncpg.ProtocolViolationError) and _STARTUP_PARAMETER in str(error):
        return PoolerError("refuses a start-up parameter")
    return None


@contextmanager
def explained() -> Iterator[None]:
    """Raise PoolerError for an error that says something about the pooler."""
    try:
        yield
    except (asyncpg.PostgresError, PoolerError) as error:
        raise explain(error) or error from None


async def check_statements(session: Session) -> None:
    """Raise PoolerError for a pooler that passes the names of statements on."""
    async with session.transaction():  # which stays on one server connection
        if session.get_server_pid() == await sql.get_backend_id(session):
            return  # no pooler: it would give a number of its own
        statement = await session.prepare("select 1")
        if await sql.is_statement_known(session, statement=statement.get_name()):
            raise PoolerError("loses prepared statements")
