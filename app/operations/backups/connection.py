"""The psycopg connection of backups, without the service's time limits.

Not asyncpg, because a restore shares one transaction with COPY and with the grants of migrations.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

import psycopg

from app.database.client.drivers import SEARCH_PATH, libpq_arguments
from app.database.role_names import OWNER
from app.operations.backups.errors import BackupError
from app.settings import DatabaseSettings, Target

Connection: TypeAlias = psycopg.Connection[tuple[Any, ...]]

# Above this limit the holder of a lock is not a request of the service.
LOCK_WAIT_SECONDS = 10
_APPLICATION = "flagstone-backups"
# The service's limits are for requests. Counting a large table takes longer.
SESSION = (
    "set statement_timeout = 0",
    "set idle_in_transaction_session_timeout = 0",
    f"set lock_timeout = '{LOCK_WAIT_SECONDS}s'",
    "set client_min_messages = warning",
    f"set search_path = {SEARCH_PATH}",
)
_TRANSACTION_TIMEOUT_SINCE = 170_000


@contextmanager
def connected(target: Target, settings: DatabaseSettings) -> Iterator[Connection]:
    """Yield a connection in autocommit mode, as the owner of the tables if the role may.

    Raises psycopg.Error.
    """
    arguments = libpq_arguments(target, settings) | {"application_name": _APPLICATION}
    with psycopg.connect(**arguments, autocommit=True) as connection:
        for statement in SESSION:
            connection.execute(statement)
        if connection.info.server_version >= _TRANSACTION_TIMEOUT_SINCE:
            connection.execute("set transaction_timeout = 0")
        if is_owner(connection):
            connection.execute(f'set role "{OWNER}"')
        yield connection


def is_owner(connection: Connection) -> bool:
    """Return whether the role may become the owner; False without provisioned roles."""
    row = connection.execute(
        "select pg_has_role(oid, 'member') from pg_roles where rolname = %s", [OWNER]
    ).fetchone()
    return row is not None and bool(row[0])


def refusal(error: psycopg.Error) -> BackupError:
    """Return the error by its SQLSTATE alone: its text may quote secret rows."""
    return BackupError(
        f"PostgreSQL refused a statement with SQLSTATE {error.sqlstate or 'unknown'}"
    )
