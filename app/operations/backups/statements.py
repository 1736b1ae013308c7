"""A connection of psycopg without the time limits of requests.

Not asyncpg, as elsewhere: a restore feeds COPY by itself and grants what a migration grants, and is
one transaction with both.
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

# Whoever holds a table for longer than this is not a request of ours.
LOCK_WAIT_SECONDS = 10
_APPLICATION = "flagstone-backups"
# The service's own limits are for requests; a count of a large table takes longer than those.
_SESSION = (
    "set statement_timeout = 0",
    "set idle_in_transaction_session_timeout = 0",
    f"set lock_timeout = '{LOCK_WAIT_SECONDS}s'",
    "set client_min_messages = warning",
    f"set search_path = {SEARCH_PATH}",
)
_TRANSACTION_TIMEOUT_SINCE = 170_000


@contextmanager
def connected(target: Target, settings: DatabaseSettings) -> Iterator[Connection]:
    """Yield a connection that is the owner of the tables where it may be. It is in autocommit.

    Raises psycopg.Error.
    """
    arguments = libpq_arguments(target, settings) | {"application_name": _APPLICATION}
    with psycopg.connect(**arguments, autocommit=True) as connection:
        for statement in _SESSION:
            connection.execute(statement)
        if connection.info.server_version >= _TRANSACTION_TIMEOUT_SINCE:
            connection.execute("set transaction_timeout = 0")
        if is_owner(connection):
            connection.execute(f'set role "{OWNER}"')
        yield connection


def is_owner(connection: Connection) -> bool:
    """Tell whether the role may become the owner; False where no roles were provisioned."""
    row = connection.execute(
        "select pg_has_role(oid, 'member') from pg_roles where rolname = %s", [OWNER]
    ).fetchone()
    return row is not None and bool(row[0])


def said(error: psycopg.Error) -> BackupError:
    """Return what PostgreSQL refused, by its state: the text may quote rows that are secret."""
    return BackupError(f"PostgreSQL refused it with SQLSTATE {error.sqlstate or 'unknown'}")
