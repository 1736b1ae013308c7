"""Detect a pooler that loses prepared statements, before requests fail.

PgBouncer before 1.21, or with `max_prepared_statements = 0`, forwards the names of statements. In
transaction mode the next use may reach another server connection, which does not know the name.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import asyncpg

from app.database.client.primary import Session
from app.database.client.statements import sql
from app.errors import ForeseenError

MISCONFIGURED = "pooler_misconfigured"
# 26000: the server connection does not know the name. 42P05: another client uses the name there.
LOST_STATEMENTS = (asyncpg.InvalidSQLStatementNameError, asyncpg.DuplicatePreparedStatementError)
_STARTUP_PARAMETER = "unsupported startup parameter"


class PoolerError(ForeseenError):
    """The settings do not fit the pooler. A retry does not help."""

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"The pooler of DATABASE_URL {reason}: set DATABASE_POOLER=transaction, "
            "and either PgBouncer's max_prepared_statements above 0 (1.21 or later) or "
            "DATABASE_STATEMENT_CACHE=0"
        )


def explain(error: BaseException) -> PoolerError | None:
    """Return the PoolerError that an error means, or None."""
    if isinstance(error, PoolerError):
        return error
    if isinstance(error, LOST_STATEMENTS):
        return PoolerError("loses prepared statements")
    if isinstance(error, asyncpg.ProtocolViolationError) and _STARTUP_PARAMETER in str(error):
        return PoolerError("refuses a start-up parameter")
    return None


@contextmanager
def explained() -> Iterator[None]:
    """Raise PoolerError instead of an error that means a problem with the pooler."""
    try:
        yield
    except (asyncpg.PostgresError, PoolerError) as error:
        raise explain(error) or error from None


async def check_statements(session: Session) -> None:
    """Raise PoolerError if the pooler forwards the names of prepared statements."""
    async with session.transaction():  # A transaction stays on one server connection.
        if session.get_server_pid() == await sql.get_backend_id(session):
            return  # There is no pooler: it would report another process id.
        statement = await session.prepare("select 1")
        if await sql.is_statement_known(session, statement=statement.get_name()):
            raise PoolerError("loses prepared statements")
