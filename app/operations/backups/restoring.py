"""Putting a backup back: one transaction, which nobody sees anything of until all of it is right.

The signature and the digest are checked before anything is touched, and the data once more while it
is read: whoever changes it in between changes nothing here. Each environment gets a new epoch in
the same transaction, so that no client ever takes restored revisions for those that it knew.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import psycopg
from psycopg import sql as psql

from app.database.client.drivers import SCHEMA, SEARCH_PATH
from app.database.client.reasons import reason_of
from app.database.client.statements import run, sql
from app.database.migrations import MigrationError, Migrator, read_files
from app.database.migrations.backend import LOCK_KEY
from app.database.roles.privileges import TABLES, grant_privileges
from app.names import counted
from app.operations.backups import reading
from app.operations.backups.errors import BackupError
from app.operations.backups.manifest import BackupHead, Manifest
from app.operations.backups.moment import count
from app.operations.backups.reading import BackupSource, Progress
from app.operations.backups.script import apply
from app.operations.backups.statements import Connection, connected, said
from app.settings import DatabaseSettings, Target

# Rows that a fresh database has too, or that tell nothing but that a service ran.
_NOT_COUNTED = {"migrations", "schema_fingerprints", "environments", "health_check"}
# A request that has one table and wants another waits for who wants all, and the other way round.
# Below PostgreSQL's second, after which it ends one of the two, all are let go, and taken anew. The
# longer waits are for whoever only ends by that second, as a vacuum does, or takes its time.
_LOCK_WAITS_SECONDS = (0.3, 0.3, 0.3, 0.3, 0.3, 0.3, 0.6, 1.2, 2.4, 4.8)
_PAUSE_SECONDS = 0.1


@dataclass(frozen=True, kw_only=True)
class RestoreTarget:
    """Where a backup is put back. `replaces` allows that something is there."""

    target: Target
    settings: DatabaseSettings
    replaces: bool
    actor: str


class NotEmptyError(BackupError):
    """There is something in the way, which nobody has said may be replaced."""


def restore(source: BackupSource, place: RestoreTarget, report: Progress) -> Sequence[BackupHead]:
    """Put a backup back and return the heads that there are now, under their new epochs.

    Blocks. Pending migrations of this release are still to be applied. Raises BackupError; then
    nothing has changed, but for one that says that this is not known. Raises psycopg.Error for a
    server that cannot be reached.
    """
    _check_release(source.manifest)
    is_done = False
    with connected(place.target, place.settings) as connection:
        try:
            with connection.transaction():
                _keep_others_out(connection)
                revoked = _make_room(connection, place)
                apply(connection, reading.script(source, report, schema=SCHEMA))
                connection.execute(f"set local search_path = {SEARCH_PATH}")
                compare(connection, source.manifest, schema=SCHEMA)
                heads = [
                    BackupHead(name=name, epoch=epoch, revision=revision, hash=None)
                    for name, epoch, revision in run(connection, sql.renew_epochs)
                ]
                # What was revoked since is no better for being restored.
                run(connection, sql.revoke_restored_tokens, ids=revoked)
                run(
                    connection,
                    sql.insert_restoration,
                    actor=place.actor,
                    resource=source.manifest.name,
                    detail=_detail(source.manifest),
                )
                grant_privileges(connection)
                is_done = True
        except psycopg.errors.InsufficientPrivilege:
            raise BackupError(
                f"{place.target.user} may not do that: something in the schema belongs to another "
                "role, or DATABASE_MIGRATOR_URL does not name the migrator"
            ) from None
        except psycopg.Error as error:
            if is_done and connection.broken:
                raise BackupError(
                    "the connection was lost just when all was to be committed, so it is not known "
                    f"whether {source.manifest.name} is back. If it is, the access log has its "
                    "backup_restored"
                ) from None
            raise BackupError(f"{said(error)}; nothing was changed") from None
    return sorted(heads, key=lambda head: head.name)


def migrate_restored(manifest: Manifest, migrator: Migrator) -> list[str]:
    """Migrate what was put back to this release, and return the names of what was applied.

    Raises BackupError, which says what is left to do.
    """
    try:
        return migrator.migrate()
    except (MigrationError, psycopg.Error) as error:
        reason = reason_of(error)
        raise BackupError(
            f"{manifest.name} is back, but not yet as this release wants it: {reason}. What is "
            "left to do is `database migrate`"
        ) from None


def _check_release(manifest: Manifest) -> None:
    newest = read_files()[-1].name
    if manifest.migration > newest:
        raise BackupError(
            f"{manifest.name}: is of a newer release, whose last migration is "
            f"{manifest.migration}; this one's is {newest}"
        )


def _keep_others_out(connection: Connection) -> None:
    row = connection.execute("select pg_try_advisory_xact_lock(%s)", [LOCK_KEY]).fetchone()
    if row is None or not row[0]:
        raise BackupError("somebody is migrating this database just now")


def _make_room(connection: Connection, place: RestoreTarget) -> list[str]:
    """Drop what is in the schema, unless that is more than a migration makes and nobody said so.

    Requests that run end first; those that come wait, and then find what was restored. Returns the
    ids of tokens that were revoked.
    """
    row = connection.execute("select to_regnamespace(%s)", [SCHEMA]).fetchone()
    if row is None or row[0] is None:
        connection.execute(psql.SQL("create schema {}").format(psql.Identifier(SCHEMA)))
        return []
    objects = run(connection, sql.list_schema_objects).fetchall()
    tables = ", ".join(identity for kind, identity, _ in objects if kind == "table")
    strange = [] if place.replaces else _strange(objects)
    if strange:
        # Before the lock, which for another's table may be refused.
        raise NotEmptyError(f"the database is not empty: it has {', '.join(strange)}")
    if tables:
        _lock(connection, tables)
    if not place.replaces:
        _refuse_rows(connection, objects)
    has_tokens = any((kind, name) == ("table", "tokens") for kind, _, name in objects)
    revoked = [id_ for (id_,) in run(connection, sql.list_revoked_tokens)] if has_tokens else []
    for kind, together in groupby(objects, key=lambda each: each[0]):
        # In one, as they refer to each other.
        _run(connection, f"drop {kind} {', '.join(identity for _, identity, _ in together)}")
    return revoked


def _lock(connection: Connection, tables: str) -> None:
    """Have every table for ourselves, or none of them while others have one.

    Raises BackupError when there is always somebody.
    """
    for seconds in _LOCK_WAITS_SECONDS:
        try:
            with connection.transaction():
                connection.execute(f"set local lock_timeout = '{seconds * 1000:.0f}ms'")
                _run(connection, f"lock table {tables} in access exclusive mode")
        except (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected):
            time.sleep(_PAUSE_SECONDS)
        else:
            return
    raise BackupError("somebody always holds a table; nothing was changed")


def _run(connection: Connection, statement: str) -> None:
    """Run a statement whose names PostgreSQL itself has quoted."""
    try:
        connection.execute(statement.encode())
    except psycopg.errors.DependentObjectsStillExist:
        raise BackupError(
            f"something outside of the schema {SCHEMA} hangs on what is to be replaced, such as a "
            "view; drop that first"
        ) from None


def _strange(objects: Sequence[tuple[str, str, str]]) -> list[str]:
    """Return what no migration of this release makes."""
    return [
        f"the {kind} {name}"
        for kind, _, name in objects
        if kind in {"view", "materialized view"} or (kind == "table" and name not in TABLES)
    ]


def _refuse_rows(connection: Connection, objects: Sequence[tuple[str, str, str]]) -> None:
    """Make sure that the tables are as migrations leave them. Raises NotEmptyError."""
    found = []
    for kind, _, name in objects:
        if kind == "table" and name not in _NOT_COUNTED:
            rows = count(connection, SCHEMA, name)
            found += [f"{name} ({counted(rows, 'row')})"] if rows else []
    if any(name == "environments" for _, _, name in objects):
        ((changed,),) = run(connection, sql.count_changed_environments)
        found += [f"environments ({changed} that were changed or made)"] if changed else []
    if found:
        raise NotEmptyError(f"the database is not empty: it has {', '.join(found)}")


def compare(connection: Connection, manifest: Manifest, *, schema: str | None = None) -> None:
    """Hold what was restored against the manifest. Raises BackupError that names what differs."""
    expected: Mapping[str, int] = manifest.tables
    if schema is not None:
        expected = {name: n for name, n in expected.items() if name.startswith(f"{schema}.")}
    for table, rows in expected.items():
        found = count(connection, *table.split(".", 1))
        if found != rows:
            raise BackupError(
                f"{manifest.name}: {table} has {counted(found, 'row')} instead of {rows}"
            )
    heads = [
        BackupHead(name=name, epoch=epoch, revision=revision, hash=hash_)
        for name, epoch, revision, hash_ in run(connection, sql.list_heads)
    ]
    for head in manifest.heads:
        if head not in heads:
            raise BackupError(f"{manifest.name}: {head.name} is not at the head of the manifest")


def _detail(manifest: Manifest) -> str:
    heads = ", ".join(
        f"{h.name} {h.revision} {(h.hash or '')[:16]}".strip() for h in manifest.heads
    )
    return f"of {manifest.created_at:%Y-%m-%dT%H:%M:%SZ}: {heads}"[:255]
