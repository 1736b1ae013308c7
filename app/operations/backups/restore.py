"""Restore a backup in one transaction, which commits after all checks.

Signature and digest are checked first, and the data again while they are read, so a change in
between has no effect. The transaction gives each environment a new epoch: clients must not take
restored revisions for the revisions that they know.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import psycopg
from psycopg import sql as psql

from app.database.client.blocking import run
from app.database.client.drivers import SCHEMA, SEARCH_PATH
from app.database.client.reasons import reason_of
from app.database.client.statements import sql
from app.database.migrations import LOCK_KEY, MigrationError, read_files
from app.database.migrations.runner import Migrator
from app.database.roles.privileges import grant_privileges
from app.database.roles.rights import TABLES
from app.names import counted
from app.operations.backups import data_reader
from app.operations.backups.connection import Connection, connected, refusal
from app.operations.backups.data_reader import BackupSource, Progress
from app.operations.backups.errors import BackupError
from app.operations.backups.manifest import BackupHead, Manifest
from app.operations.backups.restore_script import apply_script
from app.operations.backups.snapshot import count
from app.program import PROGRAM
from app.settings import DatabaseSettings, Target

# Tables with rows in a fresh database, or with rows of any running service.
_NOT_COUNTED = {
    "migrations",
    "schema_fingerprints",
    "environments",
    "health_check",
    "access_editions",
    "locks",
}
# A request that locks a second table deadlocks with this lock of all tables. PostgreSQL ends one of
# the two after 1 s, so release all locks before that, and try again. The longer waits are for long
# transactions, and for a vacuum, which gives way only after 1 s.
LOCK_WAITS_SECONDS = (0.3, 0.3, 0.3, 0.3, 0.3, 0.3, 0.6, 1.2, 2.4, 4.8)
_PAUSE_SECONDS = 0.1


@dataclass(frozen=True, kw_only=True)
class RestoreTarget:
    """The database to restore into. `replaces` allows to replace its content."""

    target: Target
    settings: DatabaseSettings
    replaces: bool
    actor: str


def restore_backup(
    source: BackupSource, target: RestoreTarget, report: Progress
) -> Sequence[BackupHead]:
    """Restore a backup and return the restored heads, with their new epochs.

    Blocks. Call `migrate_restored` afterwards. Raises BackupError: nothing has changed, unless the
    text says that the result of the commit is unknown. Raises psycopg.Error for a server that
    cannot be reached.
    """
    _check_release(source.manifest)
    is_done = False
    with connected(target.target, target.settings) as connection:
        try:
            with connection.transaction():
                _lock_out_migrators(connection)
                revoked = _make_room(connection, target)
                apply_script(connection, data_reader.script(source, report, schema=SCHEMA))
                connection.execute(f"set local search_path = {SEARCH_PATH}")
                compare(connection, source.manifest, schema=SCHEMA)
                heads = [
                    BackupHead(name=name, epoch=epoch, revision=revision, hash=None)
                    for name, epoch, revision in run(connection, sql.renew_epochs)
                ]
                # A token that was revoked since the backup stays revoked.
                run(connection, sql.revoke_tokens, ids=revoked)
                if f"{SCHEMA}.sessions" in source.manifest.tables:
                    # A session that ended since the backup stays ended, and each code is used once.
                    run(connection, sql.revoke_all_sessions)
                    run(connection, sql.delete_all_sign_in_codes)
                run(
                    connection,
                    sql.insert_restoration,
                    actor=target.actor,
                    resource=source.manifest.name,
                    detail=_detail(source.manifest),
                )
                grant_privileges(connection)
                is_done = True
        except psycopg.errors.InsufficientPrivilege:
            raise BackupError(
                f"{target.target.user} may not restore: an object in the schema belongs to another "
                "role, or DATABASE_MIGRATOR_URL does not name the migrator"
            ) from None
        except psycopg.Error as error:
            if is_done and connection.broken:
                raise BackupError(
                    "the connection was lost during the commit, so it is unknown whether "
                    f"{source.manifest.name} was restored. If it was, the access log has a row "
                    "backup_restored"
                ) from None
            raise BackupError(f"{refusal(error)}; nothing was changed") from None
    return sorted(heads, key=lambda head: head.name)


def migrate_restored(manifest: Manifest, migrator: Migrator) -> list[str]:
    """Apply the pending migrations to a restored database, and return their names.

    Raises BackupError, which says how to continue.
    """
    try:
        return migrator.migrate()
    except (MigrationError, psycopg.Error) as error:
        reason = reason_of(error)
        raise BackupError(
            f"{manifest.name} was restored, but not migrated to this release: {reason}. Run "
            f"`{PROGRAM} database migrate`"
        ) from None


def _check_release(manifest: Manifest) -> None:
    names = [file.name for file in read_files()]
    if manifest.migration > names[-1]:
        raise BackupError(
            f"{manifest.name}: is from a newer release, whose last migration is "
            f"{manifest.migration}; this one's is {names[-1]}"
        )
    if manifest.migration not in names:
        raise BackupError(
            f"{manifest.name}: its last migration, {manifest.migration}, is not one of this "
            "release. Restore it with the release that created it"
        )


def _lock_out_migrators(connection: Connection) -> None:
    row = connection.execute("select pg_try_advisory_xact_lock(%s)", [LOCK_KEY]).fetchone()
    if row is None or not row[0]:
        raise BackupError("a migration of this database is running; try again when it has ended")


def _make_room(connection: Connection, target: RestoreTarget) -> list[str]:
    """Drop all objects in the schema, and return the ids of revoked tokens.

    Raises BackupError for content, unless `replaces` is set. Running requests end first. New
    requests wait, and then find the restored tables.
    """
    row = connection.execute("select to_regnamespace(%s)", [SCHEMA]).fetchone()
    if row is None or row[0] is None:
        connection.execute(psql.SQL("create schema {}").format(psql.Identifier(SCHEMA)))
        return []
    objects = run(connection, sql.list_schema_objects).fetchall()
    tables = ", ".join(identity for kind, identity, _ in objects if kind == "table")
    foreign = [] if target.replaces else _foreign(objects)
    if foreign:
        # Check this before locking: another role's table cannot be locked.
        raise _not_empty(foreign)
    if tables:
        _lock(connection, tables)
    if not target.replaces:
        _refuse_rows(connection, objects)
    has_tokens = any((kind, name) == ("table", "tokens") for kind, _, name in objects)
    revoked = [id_ for (id_,) in run(connection, sql.list_revoked_tokens)] if has_tokens else []
    for kind, group in groupby(objects, key=lambda row: row[0]):
        # In one statement, because they refer to each other.
        _run(connection, f"drop {kind} {', '.join(identity for _, identity, _ in group)}")
    return revoked


def _lock(connection: Connection, tables: str) -> None:
    """Lock all tables at once; release them all while another transaction holds one.

    Raises BackupError when the tables are still in use after all attempts.
    """
    for seconds in LOCK_WAITS_SECONDS:
        try:
            with connection.transaction():
                connection.execute(f"set local lock_timeout = '{seconds * 1000:.0f}ms'")
                _run(connection, f"lock table {tables} in access exclusive mode")
        except (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected):
            time.sleep(_PAUSE_SECONDS)
        else:
            return
    raise BackupError(
        "a table is always in use; nothing was changed. Stop the service and try again"
    )


def _run(connection: Connection, statement: str) -> None:
    """Run a statement with names that PostgreSQL has quoted."""
    try:
        connection.execute(statement.encode())
    except psycopg.errors.DependentObjectsStillExist:
        raise BackupError(
            f"an object outside of the schema {SCHEMA}, for example a view, depends on a table; "
            "drop that object first"
        ) from None


def _foreign(objects: Sequence[tuple[str, str, str]]) -> list[str]:
    """Return the objects that no migration of this release creates."""
    return [
        f"the {kind} {name}"
        for kind, _, name in objects
        if kind in {"view", "materialized view"} or (kind == "table" and name not in TABLES)
    ]


def _refuse_rows(connection: Connection, objects: Sequence[tuple[str, str, str]]) -> None:
    """Check that the tables are as migrations leave them. Raises BackupError."""
    content = []
    for kind, _, name in objects:
        if kind == "table" and name not in _NOT_COUNTED:
            rows = count(connection, SCHEMA, name)
            content += [f"{name} ({counted(rows, 'row')})"] if rows else []
    if any(name == "environments" for _, _, name in objects):
        ((changed,),) = run(connection, sql.count_changed_environments)
        content += [f"environments ({changed} changed or created)"] if changed else []
    if content:
        raise _not_empty(content)


def _not_empty(content: Sequence[str]) -> BackupError:
    advice = "Give --replace to replace all of it"
    return BackupError(f"the database is not empty: it has {', '.join(content)}. {advice}")


def compare(connection: Connection, manifest: Manifest, *, schema: str | None = None) -> None:
    """Compare the restored tables with the manifest. Raises BackupError for a difference."""
    expected: Mapping[str, int] = manifest.tables
    if schema is not None:
        expected = {name: n for name, n in expected.items() if name.startswith(f"{schema}.")}
    for table, rows in expected.items():
        restored = count(connection, *table.split(".", 1))
        if restored != rows:
            raise BackupError(
                f"{manifest.name}: {table} has {counted(restored, 'row')} instead of {rows}"
            )
    heads = [
        BackupHead(name=name, epoch=epoch, revision=revision, hash=hash_)
        for name, epoch, revision, hash_ in run(connection, sql.list_heads)
    ]
    for head in manifest.heads:
        if head not in heads:
            raise BackupError(f"{manifest.name}: the head of {head.name} differs from the manifest")


def _detail(manifest: Manifest) -> str:
    heads = ", ".join(
        f"{h.name} {h.revision} {(h.hash or '')[:16]}".strip() for h in manifest.heads
    )
    return f"of {manifest.created_at:%Y-%m-%dT%H:%M:%SZ}: {heads}"[:255]
