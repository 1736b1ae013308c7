"""What a backup is of: one snapshot, and all that is told of it beside the data."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import psycopg
from psycopg import sql as psql

from app.backups.errors import BackupError
from app.backups.manifest import Head
from app.backups.statements import Connection, sql
from app.database.fingerprint import differences
from app.database.migrations.expectation import read_facts


@dataclass(frozen=True, kw_only=True)
class Moment:
    """`snapshot` is PostgreSQL's name for it; `bytes` is what its tables take on the disk."""

    snapshot: str
    at: datetime
    database: str
    server_version: str
    schemas: Sequence[str]
    tables: Mapping[str, int]
    heads: Sequence[Head]
    migration: str
    drifted: int
    bytes: int


def look(connection: Connection) -> Moment:
    """Return what is there in this transaction's snapshot. Raises BackupError for no schema."""
    try:
        snapshot, at, database, version = sql.get_backup_moment(connection)
        stored = list(sql.list_stored_tables(connection))
        return Moment(
            snapshot=snapshot,
            at=at,
            database=database,
            server_version=version,
            schemas=[name for (name,) in sql.list_backup_schemas(connection)],
            tables={
                f"{schema}.{name}": count(connection, schema, name) for schema, name, _ in stored
            },
            heads=[
                Head(name=name, epoch=epoch, revision=revision, hash=hash_)
                for name, epoch, revision, hash_ in sql.list_heads(connection)
            ],
            migration=sql.find_last_migration(connection) or "",
            drifted=_count_drifted(connection),
            bytes=sum(size for _, _, size in stored),
        )
    except psycopg.errors.InsufficientPrivilege:
        raise BackupError(
            "DATABASE_BACKUP_URL: this role may not read everything; name the backup role that "
            "`database provision` makes"
        ) from None
    except psycopg.errors.UndefinedTable:
        raise BackupError(
            "the database has no tables of ours: migrate first, or look at DATABASE_BACKUP_URL"
        ) from None


def _count_drifted(connection: Connection) -> int:
    if not sql.has_expected_schema(connection):
        return 0
    expected = sql.find_expected_schema(connection)
    kept = sql.get_expected_facts(connection, id=expected[0])
    return len(differences(kept, read_facts(connection)))


def count(connection: Connection, schema: str, table: str) -> int:
    """Return how many rows a table has."""
    statement = psql.SQL("select count(*) from {}").format(psql.Identifier(schema, table))
    row = connection.execute(statement).fetchone()
    return int(row[0]) if row else 0
