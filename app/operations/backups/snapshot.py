"""The database snapshot of a backup, and its description for the manifest."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

import psycopg
from psycopg import sql as psql

from app.database.client.blocking import run
from app.database.client.statements import sql
from app.operations.backups.connection import LOCK_WAIT_SECONDS, Connection
from app.operations.backups.errors import BackupError
from app.operations.backups.manifest import BackupHead
from app.program import PROGRAM

_NO_TABLES = "the database has no tables of Flagstone: migrate first, or check DATABASE_BACKUP_URL"


@dataclass(frozen=True, kw_only=True)
class DumpSnapshot:
    """`snapshot` is its name in PostgreSQL. `bytes` is the size of its tables on the disk."""

    snapshot: str
    at: datetime
    database: str
    server_version: str
    schemas: Sequence[str]
    tables: Mapping[str, int]
    heads: Sequence[BackupHead]
    migration: str
    bytes: int


def stored_tables(connection: Connection) -> Sequence[psql.Identifier]:
    """Return the names of all tables, for `lock_tables`. Raises BackupError for none."""
    with _translated_errors():
        stored = [psql.Identifier(*row[:2]) for row in run(connection, sql.list_stored_tables)]
    if not stored:
        raise BackupError(_NO_TABLES)
    return stored


def lock_tables(connection: Connection, tables: Sequence[psql.Identifier]) -> None:
    """Lock the tables against restores and migrations; must be first in the transaction.

    A lock takes no snapshot. With an earlier snapshot, a table that another transaction replaces
    meanwhile would look empty. Raises BackupError.
    """
    statement = psql.SQL("lock table {} in access share mode").format(psql.SQL(", ").join(tables))
    with _translated_errors():
        connection.execute(statement)


def read_snapshot(connection: Connection) -> DumpSnapshot:
    """Return the state in this transaction's snapshot. Raises BackupError without a schema."""
    with _translated_errors():
        snapshot, at, database, version = run(connection, sql.get_backup_moment).fetchall()[0]
        stored = run(connection, sql.list_stored_tables).fetchall()
        return DumpSnapshot(
            snapshot=snapshot,
            at=at,
            database=database,
            server_version=version,
            schemas=[name for (name,) in run(connection, sql.list_backup_schemas)],
            tables={
                f"{schema}.{name}": count(connection, schema, name) for schema, name, _ in stored
            },
            heads=[
                BackupHead(name=name, epoch=epoch, revision=revision, hash=hash_)
                for name, epoch, revision, hash_ in run(connection, sql.list_heads)
            ],
            migration="".join(name for (name,) in run(connection, sql.find_last_migration)),
            bytes=sum(size for _, _, size in stored),
        )


@contextmanager
def _translated_errors() -> Iterator[None]:
    try:
        yield
    except psycopg.errors.InsufficientPrivilege:
        raise BackupError(
            "DATABASE_BACKUP_URL: this role may not read every table; use the backup role that "
            f"`{PROGRAM} database provision` creates"
        ) from None
    except psycopg.errors.UndefinedTable:
        raise BackupError(_NO_TABLES) from None
    except psycopg.errors.LockNotAvailable:
        raise BackupError(
            f"a table was locked for more than {LOCK_WAIT_SECONDS} s, for example by a restore or "
            "a migration; try again"
        ) from None


def count(connection: Connection, schema: str, table: str) -> int:
    """Return the number of rows of a table."""
    statement = psql.SQL("select count(*) from {}").format(psql.Identifier(schema, table))
    row = connection.execute(statement).fetchone()
    return int(row[0]) if row else 0
