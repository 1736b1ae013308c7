"""Backups on a real server: one snapshot, verified to the last byte, restored in one transaction.

Most tests share one database and one backup, and damage only copies of the backup.
"""

import hashlib
import io
import os
import random
import resource
import shutil
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import psutil
import psycopg
import pyrage
import pytest
from psycopg import sql as psql
from pyrage import x25519

from app.audit.chain import consistent_read
from app.audit.verification import Verified, verify
from app.configuration.changes import writes
from app.crypto.identity import ForeignError, new_identity, parse_identity
from app.crypto.signing import Signer
from app.database import Database
from app.database.client.drivers import libpq_arguments
from app.database.migrations import LOCK_KEY
from app.database.migrations.runner import Migrator
from app.database.role_names import APP, BACKUP, MIGRATOR, OWNER
from app.environments import service as environments
from app.http.conditions import ExpectedVersion
from app.operations.backups import data_reader, programs, store
from app.operations.backups import manifest as manifests
from app.operations.backups import verification as verifying
from app.operations.backups.connection import connected
from app.operations.backups.data_reader import BackupSource
from app.operations.backups.dump import BackupRequest, Limits, create_backup
from app.operations.backups.errors import BackupError
from app.operations.backups.manifest import Manifest
from app.operations.backups.restore import (
    RestoreTarget,
    migrate_restored,
    restore_backup,
)
from app.operations.backups.restore_script import CopyData
from app.operations.backups.snapshot import count
from app.schema.drift import inspect_schema
from app.secrets.vault import Vault
from app.server.sample_data import add_test_data
from app.settings import Secret, Settings, Target, TlsMode, load
from tests.conftest import Server
from tests.database.full_postgres import FullServer, missing, version_of
from tests.waiting import HANG_SECONDS

SIGNER = Signer(Secret("k" * 32))
_TEXT, _RECIPIENT = new_identity(datetime.now(UTC))
IDENTITY = parse_identity(_TEXT)
_TABLES = ("environments", "change_sets", "changes", "configurations", "migrations", "tokens")


def _silent(_: int, __: int) -> None: ...


@dataclass(frozen=True, kw_only=True)
class Origin:
    """A database with data, and a backup of it."""

    server: Server
    name: str
    source: BackupSource
    rows: dict[str, list[tuple[Any, ...]]]


def _rows(connection: psycopg.Connection[Any], *, epoch: bool = False) -> dict[str, list[Any]]:
    """Return every row of the compared tables, optionally with the epochs of environments."""
    rows = {}
    for table in _TABLES:
        columns = psql.SQL("*")
        if table == "environments" and not epoch:
            columns = psql.SQL("name, tier, revision, hash, protected, metadata, version")
        rows[table] = connection.execute(
            psql.SQL("select {} from flagstone.{} order by 1, 2").format(
                columns, psql.Identifier(table)
            )
        ).fetchall()
    return rows


def _request(target: Target, folder: Path, settings: Settings | None = None) -> BackupRequest:
    return BackupRequest(
        target=target,
        settings=(settings or load({})).database,
        folder=folder,
        recipients=[_RECIPIENT],
        signer=SIGNER,
    )


def _source(folder: Path, manifest: Manifest) -> BackupSource:
    return BackupSource(folder=folder / manifest.name, manifest=manifest, identity=IDENTITY)


async def _seed(target: Target) -> None:
    settings = load({})
    database = Database(settings.database)
    await database.open(target)
    await add_test_data(settings, database)
    # Every backup contains the history of deleted environments.
    await database.transact(
        lambda c: writes.delete_environment(
            c, "development", expected=ExpectedVersion(version=1), actor="test", message=""
        )
    )
    await database.close()


@pytest.fixture(scope="module")
async def origin(server: Server, open_folder: Path) -> Origin:
    name = server.create_database("backed_up", template="flagstone")
    await _seed(server.target(APP, name))
    with server.admin(name) as connection:
        for token in ("a" * 13, "b" * 13):
            connection.execute(
                "insert into flagstone.tokens (id, name, mac, scopes, environments, created_by) "
                "values (%s, 'of the backup', sha256('x'), '{read}', '{*}', 'test')",
                [token],
            )
        for table in ("sessions", "sign_in_codes"):
            connection.execute(
                psql.SQL(
                    "insert into flagstone.{} "
                    "(id, name, mac, scopes, environments, actor, expires_at) "
                    "values (%s, '', sha256('x'), '{{read}}', '{{*}}', 'test', now() + '1 hour')"
                ).format(psql.Identifier(table)),
                ["a" * 13],
            )
    folder = open_folder / "backups"
    manifest = create_backup(_request(server.target(BACKUP, name), folder), _silent)
    with server.admin(name) as connection:
        rows = _rows(connection)
    return Origin(server=server, name=name, source=_source(folder, manifest), rows=rows)


@pytest.fixture
def empty(server: Server) -> Iterator[str]:
    """An empty migrated database."""
    yield server.create_database("put_back", template="flagstone")
    server.drop_database("put_back")


def _restore_target(
    server: Server | FullServer, name: str, *, replaces: bool = False
) -> RestoreTarget:
    return RestoreTarget(
        target=server.target(MIGRATOR, name),
        settings=load({}).database,
        replaces=replaces,
        actor="operator:test",
    )


def _script(source: BackupSource) -> bytes:
    """Read the whole backup, and return the restore script."""
    return b"".join(
        piece.statement + b"".join(piece.rows) if isinstance(piece, CopyData) else piece
        for piece in data_reader.script(source, _silent)
    )


def _copy(source: BackupSource, folder: Path, data: bytes, *, is_consistent: bool) -> BackupSource:
    """Return a copy of a backup with other data. `is_consistent` adapts the manifest to it."""
    copy = folder / source.manifest.name
    shutil.rmtree(copy, ignore_errors=True)
    copy.mkdir(parents=True)
    (copy / store.DATA).write_bytes(data)
    manifest = source.manifest
    if is_consistent:
        digest = hashlib.sha256(data).hexdigest()
        manifest = msgspec.structs.replace(manifest, bytes=len(data), sha256=digest)
    return replace(source, folder=copy, manifest=manifests.signed(manifest, SIGNER))


def _data(source: BackupSource) -> bytes:
    return (source.folder / store.DATA).read_bytes()


def test_backup_counts_heads_and_data_share_a_snapshot(origin: Origin) -> None:
    manifest = origin.source.manifest

    assert manifest.tables["flagstone.configurations"] == len(origin.rows["configurations"]) > 0
    assert {head.name: head.revision for head in manifest.heads}["local"] == 1
    assert manifest.tables["flagstone_audit.schema_audit"] > 0
    assert manifest.migration == origin.rows["migrations"][-1][2]
    assert b"checkout/retries" in _script(origin.source)
    assert b"checkout/retries" not in _data(origin.source)
    assert [path.name for path in origin.source.folder.parent.iterdir()] == [manifest.name]
    assert origin.source.folder.parent.stat().st_mode & 0o777 == 0o700
    assert (origin.source.folder / store.DATA).stat().st_mode & 0o777 == 0o600


def test_backup_excludes_writes_made_during_it(server: Server, empty: str, tmp_path: Path) -> None:
    """The counts come from the same snapshot as the data."""
    begun, ended = threading.Event(), threading.Event()

    def write() -> None:
        with server.admin(empty) as connection:
            while not ended.is_set():
                connection.execute("insert into flagstone.health_check default values")
                begun.set()

    writer = threading.Thread(target=write)
    writer.start()
    try:
        assert begun.wait(HANG_SECONDS)
        manifest = create_backup(_request(server.target(BACKUP, empty), tmp_path), _silent)
    finally:
        ended.set()
        writer.join()

    (rows,) = (
        b"".join(piece.rows)
        for piece in data_reader.script(_source(tmp_path, manifest), _silent)
        if isinstance(piece, CopyData) and b"health_check" in piece.statement
    )
    assert rows.count(b"\n") == manifest.tables["flagstone.health_check"]
    with server.admin(empty) as connection:
        written = count(connection, "flagstone", "health_check")
    assert 0 < manifest.tables["flagstone.health_check"] < written


@pytest.mark.parametrize("damage", ["cut", "flipped"])
def test_backup_with_changed_byte_is_refused(origin: Origin, tmp_path: Path, damage: str) -> None:
    """The digest detects the change. For a consistent manifest, age does."""
    data = _data(origin.source)
    numbers = random.Random(os.environ.get("FLAGSTONE_SEED", "backups"))  # noqa: S311
    for position in (numbers.randrange(len(data)) for _ in range(100)):
        flipped = data[position] ^ 1 << numbers.randrange(8)
        damaged = data[:position] + (
            bytes([flipped]) + data[position + 1 :] if damage != "cut" else b""
        )

        with pytest.raises(BackupError, match=r"data\.age (has|was changed)"):
            data_reader.check_digest(
                _copy(origin.source, tmp_path, damaged, is_consistent=False), _silent
            )
        with pytest.raises(ForeignError):
            IDENTITY.decrypt_stream(io.BytesIO(damaged), io.BytesIO())


def test_opened_backup_is_verified_to_its_end(origin: Origin, tmp_path: Path) -> None:
    data = _data(origin.source)
    for position in (100, len(data) // 2, len(data) - 1):
        damaged = data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :]
        for is_consistent, reason in ((True, "be decrypted"), (False, "be decrypted|was changed")):
            with pytest.raises(BackupError, match=reason):
                _script(_copy(origin.source, tmp_path, damaged, is_consistent=is_consistent))
            with pytest.raises(BackupError):
                _script(
                    _copy(origin.source, tmp_path, data[:position], is_consistent=is_consistent)
                )


def test_backup_with_other_identity_is_refused(origin: Origin) -> None:
    other = parse_identity(new_identity(datetime.now(UTC))[0])

    with pytest.raises(BackupError, match="are for another identity"):
        _script(replace(origin.source, identity=other))


async def test_restored_data_equals_the_original(
    server: Server, origin: Origin, empty: str
) -> None:
    heads = restore_backup(origin.source, _restore_target(server, empty), _silent)

    with server.admin(empty) as connection:
        # Test this before the next migration, as services may be running.
        assert connection.execute(
            "select has_table_privilege(%s, 'flagstone.tokens', 'select')", [APP]
        ).fetchone() == (True,)
    migrator = Migrator(
        target=server.target(MIGRATOR, empty), settings=load({}).database, instance="test"
    )
    assert migrate_restored(origin.source.manifest, migrator) == []
    with server.admin(empty) as connection:
        assert _rows(connection) == origin.rows
        logged = connection.execute(
            "select event, actor, resource from flagstone.access_log "
            "where event = 'backup_restored'"
        ).fetchone()
        # The audit trail continues, and contains the restore.
        trail = count(connection, "flagstone_audit", "schema_audit")
        assert trail > origin.source.manifest.tables["flagstone_audit.schema_audit"]
        owners = connection.execute(
            "select distinct pg_get_userbyid(relowner) from pg_class "
            "where relnamespace = 'flagstone'::regnamespace"
        ).fetchall()
    assert logged == ("backup_restored", "operator:test", origin.source.manifest.name)
    assert owners == [(OWNER,)]
    before = {head.name: head.epoch for head in origin.source.manifest.heads}
    assert {head.name for head in heads} == before.keys()
    assert all(head.epoch != before[head.name] for head in heads)
    database = Database(load({}).database)
    # Write as the app role, to prove that its rights are restored.
    await database.open(server.target(APP, empty))
    async with consistent_read(database) as moment:
        assert "development" not in {
            environment.name for environment in await environments.list_all(moment)
        }
        for environment in await environments.list_all(moment, with_deleted=True):
            assert isinstance(await verify(moment, environment.name), Verified)
    async with database.connection() as connection:
        assert (await inspect_schema(connection)).drift == ()
    await database.close()


def test_restore_over_data_needs_confirmation(server: Server, origin: Origin) -> None:
    with server.admin(origin.name) as connection:
        before = _rows(connection, epoch=True)

    with pytest.raises(BackupError, match=r"configurations \(5 rows\)") as refused:
        restore_backup(origin.source, _restore_target(server, origin.name), _silent)

    assert "environments (2 changed or created)" in str(refused.value)
    with server.admin(origin.name) as connection:
        assert _rows(connection, epoch=True) == before


def test_failed_migration_after_restore_is_reported(server: Server, origin: Origin) -> None:
    migrator = Migrator(
        target=server.target(MIGRATOR, "gone"), settings=load({}).database, instance="test"
    )

    with pytest.raises(
        BackupError, match=r"restored, but not migrated .*not exist.* -m app database migrate`"
    ):
        migrate_restored(origin.source.manifest, migrator)


def test_token_revoked_after_the_backup_stays_revoked(
    server: Server, origin: Origin, empty: str
) -> None:
    with server.admin(empty) as connection:
        connection.execute(
            "insert into flagstone.tokens "
            "(id, name, mac, scopes, environments, created_by, revoked_at) values "
            "(%s, 'now', decode(repeat('00', 32), 'hex'), '{read}', '{*}', 'test', now())",
            ["a" * 13],
        )

    restore_backup(origin.source, _restore_target(server, empty, replaces=True), _silent)

    with server.admin(empty) as connection:
        revoked = connection.execute(
            "select id, revoked_at is not null, mac = decode(repeat('00', 32), 'hex') "
            "from flagstone.tokens order by id"
        ).fetchall()
    assert revoked == [("a" * 13, True, True), ("b" * 13, False, False)]


def test_session_and_code_of_a_backup_are_over(server: Server, origin: Origin, empty: str) -> None:
    """The session may have ended and the code may have been used since the backup."""
    restore_backup(origin.source, _restore_target(server, empty), _silent)

    with server.admin(empty) as connection:
        sessions = connection.execute(
            "select id, revoked_at is not null, mac = decode(repeat('00', 32), 'hex') "
            "from flagstone.sessions"
        ).fetchall()
        assert sessions == [("a" * 13, True, True)]
        assert count(connection, "flagstone", "sign_in_codes") == 0


def test_foreign_table_refuses_the_restore(server: Server, origin: Origin, empty: str) -> None:
    with server.admin(empty) as connection:
        connection.execute("create table flagstone.theirs ()")
        connection.execute("create view public.report as select name from flagstone.environments")

    with pytest.raises(BackupError, match=r"the table theirs\. Give"):
        restore_backup(origin.source, _restore_target(server, empty), _silent)
    with server.admin(empty) as connection:
        connection.execute("drop table flagstone.theirs")
    with pytest.raises(BackupError, match="an object outside of the schema flagstone"):
        restore_backup(origin.source, _restore_target(server, empty), _silent)

    with server.admin(empty) as connection:
        connection.execute("drop view public.report")
        connection.execute("create view flagstone.later as select name from flagstone.environments")
        connection.execute("create view flagstone.earlier as select name from flagstone.later")
    with pytest.raises(BackupError, match="the view earlier, the view later"):
        restore_backup(origin.source, _restore_target(server, empty), _silent)
    with server.admin(empty) as connection:
        for view in ("later", "earlier"):
            connection.execute(f"alter view flagstone.{view} owner to {OWNER}")
    assert restore_backup(origin.source, _restore_target(server, empty, replaces=True), _silent)


def test_truncated_backup_changes_nothing(
    server: Server, origin: Origin, empty: str, tmp_path: Path
) -> None:
    """pg_restore does not read the end of the file: only age detects that it is missing."""
    plain = io.BytesIO()
    IDENTITY.decrypt_stream(io.BytesIO(_data(origin.source)), plain)
    padded = plain.getvalue() + bytes(3 * 65_536)
    whole = pyrage.encrypt(padded, [x25519.Recipient.from_str(_RECIPIENT)])
    cut = whole[: -(65_536 + 1_000)]
    with server.admin(empty) as connection:
        before = _rows(connection, epoch=True)

    for data, reason in ((cut, "be decrypted"), (whole[:-1] + b"\0", "be decrypted")):
        with pytest.raises(BackupError, match=reason):
            restore_backup(
                _copy(origin.source, tmp_path, data, is_consistent=True),
                _restore_target(server, empty),
                _silent,
            )

    with server.admin(empty) as connection:
        assert _rows(connection, epoch=True) == before
    source = _copy(origin.source, tmp_path, whole, is_consistent=True)
    assert restore_backup(source, _restore_target(server, empty), _silent)


def test_backup_that_contradicts_its_manifest_changes_nothing(
    server: Server, origin: Origin, empty: str
) -> None:
    manifest = origin.source.manifest
    more = dict(manifest.tables) | {"flagstone.changes": 1}
    heads = [msgspec.structs.replace(head, hash="00") for head in manifest.heads]

    for change, reason in (
        ({"tables": more}, "flagstone.changes has 15 rows instead of 1"),
        ({"heads": heads}, "the head of [a-z]+ differs"),
        ({"migration": "1995384800000-FromTheFuture"}, "is from a newer release"),
        ({"migration": "1795384800000-FromOtherFiles"}, "is not one of this release"),
    ):
        source = replace(origin.source, manifest=msgspec.structs.replace(manifest, **change))
        with pytest.raises(BackupError, match=reason):
            restore_backup(source, _restore_target(server, empty), _silent)
    with server.admin(empty) as connection:
        assert _rows(connection)["configurations"] == []


def test_restore_waits_for_a_locked_table(
    server: Server, origin: Origin, empty: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.operations.backups.restore.LOCK_WAITS_SECONDS", (0.05, 0.05))
    with server.admin(empty) as connection, connection.transaction():
        connection.execute("lock table flagstone.tokens in access share mode")

        with pytest.raises(BackupError, match="a table is always in use"):
            restore_backup(origin.source, _restore_target(server, empty), _silent)


def test_restore_waits_for_a_migration(server: Server, origin: Origin, empty: str) -> None:
    with server.admin(empty) as connection:
        connection.execute("select pg_advisory_lock(%s)", [LOCK_KEY])

        with pytest.raises(BackupError, match="a migration of this database is running"):
            restore_backup(origin.source, _restore_target(server, empty), _silent)


def test_deadlock_with_a_request_does_not_end_a_restore(
    server: Server, origin: Origin, empty: str
) -> None:
    """A request that has locked one table and waits for another deadlocks with the restore."""
    is_locked, lock = threading.Event(), psql.SQL("lock table flagstone.{} in access share mode")

    def request() -> None:
        with server.admin(empty) as connection, connection.transaction():
            connection.execute(lock.format(psql.Identifier("tokens")))
            is_locked.set()
            watcher.execute("select pg_sleep(0.1)")
            connection.execute(lock.format(psql.Identifier("access_log")))

    with server.admin(empty) as watcher:
        other = threading.Thread(target=request)
        other.start()
        assert is_locked.wait(HANG_SECONDS)

        assert restore_backup(origin.source, _restore_target(server, empty), _silent)
        other.join()


def test_backup_started_during_restore_has_the_restored_data(
    server: Server, origin: Origin, empty: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An earlier snapshot would show the recreated tables as empty, in a valid dump."""
    created: list[Manifest] = []
    request = _request(server.target(BACKUP, empty), tmp_path)
    other = threading.Thread(target=lambda: created.append(create_backup(request, _silent)))

    def begin(_: object) -> None:
        other.start()
        with server.admin() as watcher:
            while not watcher.execute("select 1 from pg_locks where not granted").fetchone():
                watcher.execute("select pg_sleep(0.01)")

    monkeypatch.setattr("app.operations.backups.restore.grant_privileges", begin)
    restore_backup(origin.source, _restore_target(server, empty), _silent)
    other.join(HANG_SECONDS)

    (manifest,) = created
    name = "flagstone.configurations"
    assert manifest.tables[name] == origin.source.manifest.tables[name]
    assert manifest.migration == origin.source.manifest.migration
    assert b"checkout/retries" in _script(_source(tmp_path, manifest))


def test_failed_restore_says_whether_data_changed(
    server: Server, origin: Origin, empty: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the COMMIT nothing has changed. Without its answer the result is unknown."""

    def end_session(connection: psycopg.Connection[Any]) -> None:
        with server.admin() as admin:
            admin.execute("select pg_terminate_backend(%s)", [connection.info.backend_pid])

    def end_session_and_query(connection: psycopg.Connection[Any]) -> None:
        end_session(connection)
        connection.execute("select")

    for work, reason in (
        (end_session_and_query, "nothing was changed"),
        (end_session, "it is unknown whether"),
    ):
        monkeypatch.setattr("app.operations.backups.restore.grant_privileges", work)
        with pytest.raises(BackupError, match=reason):
            restore_backup(origin.source, _restore_target(server, empty), _silent)

    with server.admin(empty) as connection:
        assert _rows(connection)["configurations"] == []


@pytest.fixture(scope="module")
def large(server: Server) -> Iterator[str]:
    """Yield a database whose dump takes about 1 s."""
    name = server.create_database("large", template="flagstone")
    with server.admin(name) as connection:
        connection.execute(f"set role {OWNER}")
        connection.execute("create table flagstone.ballast (content bytea)")
        connection.execute("alter table flagstone.ballast alter content set storage external")
        connection.execute(f"grant select on flagstone.ballast to {BACKUP}")
        with connection.cursor().copy("copy flagstone.ballast from stdin") as copy:
            for _ in range(40):
                copy.write(b"\\\\x" + os.urandom(1_000_000).hex().encode() + b"\n")
    yield name
    server.drop_database(name)


def _pg_dump() -> psutil.Process:
    (process,) = [child for child in psutil.Process().children() if child.name() == "pg_dump"]
    return process


def _midway(signal_number: int) -> Callable[[int, int], None]:
    def send(done: int, _: int) -> None:
        if done > 1_000_000:
            _pg_dump().send_signal(signal_number)

    return send


def test_killed_pg_dump_leaves_no_backup(server: Server, large: str, tmp_path: Path) -> None:
    with pytest.raises(BackupError, match="pg_dump was killed by signal 9"):
        create_backup(_request(server.target(BACKUP, large), tmp_path), _midway(signal.SIGKILL))

    assert list(tmp_path.iterdir()) == []


def test_silent_pg_dump_is_ended_at_its_limit(server: Server, large: str, tmp_path: Path) -> None:
    limits = Limits(stall_seconds=0.3, whole_seconds=30)

    with pytest.raises(BackupError, match=r"pg_dump wrote nothing for 0\.3 s"):
        create_backup(
            _request(server.target(BACKUP, large), tmp_path), _midway(signal.SIGSTOP), limits
        )

    assert list(tmp_path.iterdir()) == []
    assert [p for p in psutil.Process().children() if p.name() == "pg_dump"] == []


def test_full_disk_leaves_no_backup(server: Server, large: str, tmp_path: Path) -> None:
    """A limit of 1 MB per file for this process simulates the full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, hard))
    try:
        with pytest.raises(BackupError, match="cannot be written: File too large"):
            create_backup(_request(server.target(BACKUP, large), tmp_path), _silent)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    assert list(tmp_path.iterdir()) == []


def test_interruption_leaves_no_backup(server: Server, large: str, tmp_path: Path) -> None:
    def interrupt(done: int, _: int) -> None:
        if done > 1_000_000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        create_backup(_request(server.target(BACKUP, large), tmp_path), interrupt)

    assert list(tmp_path.iterdir()) == []
    assert [thread for thread in threading.enumerate() if thread.name == "age"] == []


def test_password_may_contain_the_pgpass_separator(server: Server) -> None:
    password = Secret("a:b\\c")
    with server.admin() as connection:
        connection.execute("create role separated login password 'a:b\\c'")
    ((host, port),) = server.superuser.hosts
    try:
        with programs.password_file(password) as (descriptor,):
            psycopg.connect(
                host=host,
                port=port,
                user="separated",
                dbname="postgres",
                passfile=f"/dev/fd/{descriptor}",
            ).close()
    finally:
        with server.admin() as connection:
            connection.execute("drop role separated")


def test_wrong_password_error_hides_the_password(server: Server, tmp_path: Path) -> None:
    target = server.target(BACKUP, "flagstone")
    wrong = target.as_role(target.user, Secret("hunter2hunter2"))

    with pytest.raises(psycopg.OperationalError) as refused:
        create_backup(_request(wrong, tmp_path), _silent)

    assert "hunter2" not in str(refused.value)
    assert list(tmp_path.iterdir()) == []


def test_backup_waits_for_a_locked_table(
    server: Server, empty: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "app.operations.backups.connection.SESSION", ("set lock_timeout = '100ms'",)
    )
    with server.admin(empty) as connection, connection.transaction():
        connection.execute("lock table flagstone.tokens in access exclusive mode")

        with pytest.raises(BackupError, match="a table was locked for more than"):
            create_backup(_request(server.target(BACKUP, empty), tmp_path), _silent)

    assert list(tmp_path.iterdir()) == []


def test_server_timeouts_do_not_end_a_long_backup(server: Server, empty: str) -> None:
    limits = ["statement", "idle_in_transaction_session"]
    with server.admin(empty) as connection:
        if connection.info.server_version >= 170_000:
            limits.append("transaction")
        for limit in limits:
            connection.execute(f"alter database {empty} set {limit}_timeout = '30s'")

    with connected(server.target(BACKUP, empty), load({}).database) as connection:
        values = [connection.execute(f"show {limit}_timeout").fetchone() for limit in limits]

    assert values == [("0",)] * len(limits)


def test_database_without_tables_makes_no_backup(server: Server, tmp_path: Path) -> None:
    with pytest.raises(BackupError, match="no tables of Flagstone"):
        create_backup(_request(server.superuser, tmp_path), _silent)


def test_program_older_than_the_server_is_refused() -> None:
    with pytest.raises(BackupError, match="PostgreSQL 99 needs pg_dump 99 or newer on PATH"):
        programs.find("pg_dump", 99)


def test_program_for_tls_missing_from_path_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")

    with pytest.raises(BackupError) as refusal:
        programs.find("pg_dump", 15, TlsMode.VERIFY_FULL)

    assert str(refusal.value) == (
        "pg_dump: a backup of PostgreSQL 15 with TLS needs pg_dump 15 or newer on PATH. Versions "
        "found: none. Install the client programs of PostgreSQL 15, on Debian the package "
        "postgresql-client-15"
    )


def test_pg_dump_for_a_server_that_prefers_tls_is_from_path() -> None:
    if (path := shutil.which("pg_dump")) is None:
        pytest.skip("needs pg_dump on PATH")

    assert programs.find("pg_dump", 9, TlsMode.PREFER).path == Path(path)


def test_backup_is_verified_by_restoring_it(origin: Origin) -> None:
    settings = load({})

    verification, secrets = verifying.verify_backup(origin.source, settings, Vault(), _silent)

    assert (secrets.text, secrets.is_proof) == ("none", True)
    assert verification.revisions == 3
    assert (
        store.find(origin.source.folder.parent, store.LATEST, SIGNER.public_key).verification
        == verification
    )
    assert list(Path(tempfile.gettempdir()).glob("flagstone-verify-*")) == []


def test_restored_dump_runs_without_privileges(server: Server, empty: str, tmp_path: Path) -> None:
    """A dump contains functions of the table owner. As a superuser they could run programs."""
    target = server.target(MIGRATOR, empty)
    with psycopg.connect(**libpq_arguments(target, load({}).database)) as connection:
        connection.execute(f"set role {OWNER}")
        connection.execute(
            "create function flagstone.same(number integer) returns integer "
            "language plpgsql immutable as $$ begin"
            "  if (select rolsuper from pg_roles where rolname = session_user) then"
            "    raise exception 'superuser';"
            "  end if;"
            "  return number; end $$;"
            "create index on flagstone.migrations (flagstone.same(id))"
        )
    manifest = create_backup(_request(server.target(BACKUP, empty), tmp_path), _silent)
    source = _source(tmp_path, manifest)

    verification, _ = verifying.verify_backup(source, load({}), Vault(), _silent)

    assert verification.revisions == 0


@pytest.mark.slow
def test_changed_history_fails_the_verification(
    server: Server, origin: Origin, empty: str, tmp_path: Path
) -> None:
    """Manifest and signature match the changed rows: only the chain detects the change."""
    restore_backup(origin.source, _restore_target(server, empty), _silent)
    with server.admin(empty) as connection:
        connection.execute("update flagstone.change_sets set message = 'something else'")
    manifest = create_backup(_request(server.target(BACKUP, empty), tmp_path), _silent)

    with pytest.raises(BackupError, match="revision 1 does not match its hash"):
        verifying.verify_backup(_source(tmp_path, manifest), load({}), Vault(), _silent)


@pytest.mark.slow
async def test_backup_moves_between_postgresql_15_and_18(
    server: Server, plain_server: FullServer, origin: Origin, empty: str, tmp_path: Path
) -> None:
    """In both directions: an older server may not support what the newest pg_restore uses.

    The migrator makes the backup. It reads as the owner.
    """
    if version_of(plain_server) >= 17:
        pytest.skip("needs an older server than 17")
    name = plain_server.create_database("between")
    replace(plain_server.provisioner, database=name).provision()

    restore_backup(origin.source, _restore_target(plain_server, name), _silent)
    back = create_backup(_request(plain_server.target(MIGRATOR, name), tmp_path), _silent)
    restore_backup(_source(tmp_path, back), _restore_target(server, empty), _silent)
    restore_backup(
        _source(tmp_path, back), _restore_target(plain_server, name, replaces=True), _silent
    )

    for session in (server.admin(empty), plain_server.admin(name)):
        with session as connection:
            assert _rows(connection) == origin.rows


@pytest.mark.slow
def test_backup_over_tls_uses_the_program_on_path(tls_server: FullServer, tmp_path: Path) -> None:
    try:
        programs.find("pg_dump", version_of(tls_server), TlsMode.VERIFY_FULL)
    except BackupError:
        missing(f"pg_dump {version_of(tls_server)} or newer")
    tls_server.provisioner.provision()
    target = tls_server.target(MIGRATOR)
    Migrator(target=target, settings=load({}).database, instance="test").migrate()

    manifest = create_backup(_request(tls_server.target(BACKUP), tmp_path), _silent)

    assert b"CREATE TABLE flagstone.tokens" in _script(_source(tmp_path, manifest))
    untrusting = replace(target, tls=replace(target.tls, ca=None))
    with pytest.raises(psycopg.OperationalError, match="certificate verify failed"):
        create_backup(_request(untrusting, tmp_path), _silent)
