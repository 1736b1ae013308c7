"""What a backup is of: one snapshot, and all that is told of it beside the data."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

import psycopg
from psycopg import sql as psql

from app.database.client.statements import run, sql
from app.operations.backups.errors import BackupError
from app.operations.backups.manifest import BackupHead
from app.operations.backups.statements import LOCK_WAIT_SECONDS, Connection

_NO_TABLES = "the database has no tables of ours: migrate first, or look at DATABASE_BACKUP_URL"


@dataclass(frozen=True, kw_only=True)
class Moment:
    """`snapshot` is PostgreSQL's name for it; `bytes` is what its tables take on the disk."""

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
    """Return the names of all tables, for `hold`. Raises BackupError where there are none."""
    with _told():
        stored = [psql.Identifier(*row[:2]) for row in run(connection, sql.list_stored_tables)]
    if not stored:
        raise BackupError(_NO_TABLES)
    return stored


def hold(connection: Connection, tables: Sequence[psql.Identifier]) -> None:
    """Have the tables stay what they are; call it before anything else in the transaction.

    To a snapshot from before it, a table that somebody then makes anew, as a restore does and many
    a migration, is empty. A lock, unlike a look, takes none. Raises BackupError.
    """
    statement = psql.SQL("lock table {} in access share mode").format(psql.SQL(", ").join(tables))
    with _told():
        connection.execute(statement)


def look(connection: Connection) -> Moment:
    """Return what is there in this transaction's snapshot. Raises BackupError for no schema."""
    with _told():
        snapshot, at, database, version = run(connection, sql.get_backup_moment).fetchall()[0]
        stored = run(connection, sql.list_stored_tables).fetchall()
        return Moment(
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
def _told() -> Iterator[None]:
    try:
        yield
    except psycopg.errors.InsufficientPrivilege:
        raise BackupError(
            "DATABASE_BACKUP_URL: this role may not read everything; name the backup role that "
            "`database provision` makes"
        ) from None
    except psycopg.errors.UndefinedTable:
        raise BackupError(_NO_TABLES) from None
    except psycopg.errors.LockNotAvailable:
        raise BackupError(
            f"somebody holds a table for longer than {LOCK_WAIT_SECONDS} s, as a restore or a "
            "migration does"
        ) from None


def count(connection: Connection, schema: str, table: str) -> int:
    """Return how many rows a table has."""
    statement = psql.SQL("select count(*) from {}").format(psql.Identifier(schema, table))
    row = connection.execute(statement).fetchone()
    return int(row[0]) if row else 0
