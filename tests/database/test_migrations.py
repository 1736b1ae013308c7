"""Test the migration runner: files are atomic, runs are serial, and differences are named."""

import asyncio
import json
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest
from structlog.testing import capture_logs
from structlog.typing import EventDict

from app.database.migrations import LOCK_KEY, MigrationError, new_files, read_files
from app.database.migrations.files import FOLDER
from app.database.migrations.runner import Migrator
from app.database.role_names import MIGRATOR
from app.settings import Secret, Target
from tests.conftest import Server
from tests.waiting import HANG_SECONDS

Connection = psycopg.Connection[tuple[object, ...]]

BASELINE = [file.name for file in read_files()]
FIRST, SECOND, THIRD = (f"199999990000{n}-Added{n}" for n in range(3))

_SCRIPT = """
import json, sys
from pathlib import Path
from app.database.migrations.runner import Migrator
from app.settings import load, parse_target

url, folder = sys.argv[1:]
migrator = Migrator(
    target=parse_target(url), settings=load({}).database, instance="child", folder=Path(folder)
)
print(json.dumps(migrator.migrate()))
"""


_EMPTY = pytest.mark.parametrize("template", ["template0"])


@pytest.fixture
def template() -> str:
    """Return the migrated database: all migrations take longer than most tests."""
    return "flagstone"


@pytest.fixture
def admin(server: Server, template: str) -> Iterator[Connection]:
    """Connect as a superuser to a migrated database, or to an empty one in tests with `_EMPTY`."""
    server.create_database("migrations", template)
    with server.admin("migrations") as connection:
        connection.execute("set search_path = flagstone")
        yield connection
    server.drop_database("migrations")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Copy the migrations, so that a test may add and damage files."""
    return Path(shutil.copytree(FOLDER, tmp_path / "migrations"))


@pytest.fixture
def migrator(server: Server, admin: Connection, folder: Path) -> Migrator:
    assert admin.info.dbname == "migrations"
    return Migrator(
        target=server.target(MIGRATOR, "migrations"),
        settings=server.provisioner.settings,
        instance="tests",
        folder=folder,
    )


def _add(
    folder: Path,
    name: str,
    up: str,
    down: str = "-- Nothing to take back.\n",
    *,
    transactional: bool = True,
) -> str:
    header = "-- A test.\n-- type: schema\n-- phase: core\n"
    if not transactional:
        header += "-- transactional: false\n"
    (folder / f"{name}.sql").write_text(header + up)
    (folder / f"{name}.rollback.sql").write_text(down)
    return name


def _ledger(admin: Connection) -> dict[object, object]:
    return dict(admin.execute("select name, state from migrations order by id").fetchall())  # type: ignore[arg-type]


def _exists(admin: Connection, relation: str) -> bool:
    return admin.execute("select to_regclass(%s) is not null", [relation]).fetchone() == (True,)


def _index_is_valid(admin: Connection, index: str) -> bool:
    row = admin.execute(
        "select indisvalid from pg_index where indexrelid = to_regclass(%s)", [index]
    ).fetchone()
    return row == (True,)


def _is_unlocked(admin: Connection) -> bool:
    row = admin.execute(
        "select count(*) from pg_locks where locktype = 'advisory' and database = "
        "(select oid from pg_database where datname = current_database())"
    ).fetchone()
    return row == (0,)


def _wait(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + HANG_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _is_running(admin: Connection, text: str) -> bool:
    row = admin.execute(
        "select count(*) from pg_stat_activity where datname = current_database() "
        "and pid <> pg_backend_pid() and state = 'active' and query like %s",
        [f"%{text}%"],
    ).fetchone()
    return row != (0,)


@contextmanager
def _child(target: Target, folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Run a migrator in a child process, and kill it at the end."""
    (host, port) = target.hosts[0]
    password = target.password.reveal() if target.password else ""
    url = f"postgresql://{target.user}:{password}@{quote(host, safe='')}:{port}/{target.database}"
    with subprocess.Popen(
        [sys.executable, "-c", _SCRIPT, url, str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=FOLDER.parent,
    ) as process:
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):
                process.kill()


@_EMPTY
def test_pending_migrations_are_applied_in_order(migrator: Migrator, folder: Path) -> None:
    _add(folder, SECOND, "create table second as table first;", "drop table second;")
    _add(folder, FIRST, "create table first (a text);", "drop table first;")
    progress: list[tuple[str, int, int]] = []

    applied = migrator.migrate(lambda *step: progress.append(step))

    total = len(applied)
    assert applied == [*BASELINE, FIRST, SECOND]
    assert progress == [*((name, n, total) for n, name in enumerate(applied)), ("", total, total)]
    assert migrator.roll_back(2) == [SECOND, FIRST]
    assert [file.name for file in migrator.status().pending] == [FIRST, SECOND]


def test_failed_migration_is_named_and_rolled_back(
    migrator: Migrator, folder: Path, admin: Connection
) -> None:
    _add(folder, FIRST, "create table first (a integer);")
    _add(folder, SECOND, "create table second (a integer); insert into second values ('x');")
    _add(folder, THIRD, "create table third (a integer);")

    with pytest.raises(MigrationError, match=f"^{SECOND} failed: invalid input syntax"):
        migrator.migrate()

    assert [_exists(admin, name) for name in ("first", "second", "third")] == [True, False, False]
    assert list(_ledger(admin)) == [*BASELINE, FIRST]
    assert _is_unlocked(admin)


def test_failure_message_has_no_row_values(migrator: Migrator, folder: Path) -> None:
    _add(
        folder,
        FIRST,
        "create table t (a text constraint t_unique unique);"
        "insert into t values ('hunter2'), ('hunter2');",
    )

    with pytest.raises(MigrationError) as failure:
        migrator.migrate()

    assert "t_unique" in str(failure.value)
    assert "hunter2" not in str(failure.value)


def test_failed_rollback_changes_nothing(
    migrator: Migrator, folder: Path, admin: Connection
) -> None:
    _add(folder, FIRST, "create table first (a integer);", "drop table first; drop table no;")
    migrator.migrate()

    with pytest.raises(MigrationError, match=f"^{FIRST} failed"):
        migrator.roll_back(1)

    assert _exists(admin, "first")
    assert _ledger(admin)[FIRST] == "applied"
    assert _is_unlocked(admin)


def test_next_run_applies_the_corrected_migration(
    migrator: Migrator, folder: Path, admin: Connection
) -> None:
    _add(folder, FIRST, "create table first (a integre);")
    with pytest.raises(MigrationError):
        migrator.migrate()

    _add(folder, FIRST, "create table first (a integer);")

    assert migrator.migrate() == [FIRST]
    assert migrator.migrate() == []
    assert _exists(admin, "first")


def test_placeholder_signs_in_a_file_are_plain_text(
    migrator: Migrator, folder: Path, admin: Connection
) -> None:
    _add(folder, FIRST, "create table t as select '100%' as a, ':b %s %(c)s' as b; -- the end")
    migrator.migrate()

    assert admin.execute("select a, b from t").fetchone() == ("100%", ":b %s %(c)s")


def _edit(folder: Path) -> None:
    path = folder / f"{FIRST}.sql"
    path.write_text(path.read_text() + "-- once more")


def _edit_rollback(folder: Path) -> None:
    (folder / f"{FIRST}.rollback.sql").write_text("select 1;")


def _delete(folder: Path) -> None:
    for path in folder.glob(f"{FIRST}.*"):
        path.unlink()


def _add_older(folder: Path) -> None:
    _add(folder, "1999999800000-Late", "select 1;")


def _misname(folder: Path) -> None:
    (folder / "1999999900009_lower.sql").touch()


def _add_unpaired(folder: Path) -> None:
    _add(folder, SECOND, "select 1;")
    (folder / f"{SECOND}.rollback.sql").unlink()


def _add_rollback_only(folder: Path) -> None:
    (folder / f"{SECOND}.rollback.sql").touch()


def _duplicate_timestamp(folder: Path) -> None:
    _add(folder, f"{FIRST.partition('-')[0]}-Twin", "select 1;")


def _commit(folder: Path) -> None:
    _add(folder, SECOND, "select 1;\ncommit;")


def _commit_between_statements(folder: Path) -> None:
    _add(folder, SECOND, "select 1; commit; select 2;")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (_edit, f"{FIRST} was applied, and its file was edited since"),
        (_edit_rollback, f"{FIRST} was applied, and its file was edited since"),
        (_delete, f"{FIRST} was applied, and its file is missing"),
        (_add_older, "1999999800000-Late is older than an applied migration"),
        (_misname, "1999999900009_lower.sql is misnamed"),
        (_add_unpaired, f"{SECOND}.sql is unpaired"),
        (_add_rollback_only, f"{SECOND}.rollback.sql is unpaired"),
        (_duplicate_timestamp, "has the same timestamp"),
        (_commit, f"{SECOND}.sql controls transactions"),
        (_commit_between_statements, f"{SECOND}.sql controls transactions"),
    ],
)
def test_files_that_differ_from_the_ledger_are_refused(
    migrator: Migrator,
    folder: Path,
    admin: Connection,
    damage: Callable[[Path], None],
    reason: str,
) -> None:
    _add(folder, FIRST, "create table first (a integer);", "drop table first;")
    migrator.migrate()
    before = _ledger(admin)

    _add(folder, THIRD, "create table third (a integer);", "drop table third;")
    damage(folder)

    with pytest.raises(MigrationError, match=re.escape(reason)):
        migrator.migrate()
    with pytest.raises(MigrationError, match=re.escape(reason)):
        migrator.roll_back(1)
    assert _ledger(admin) == before
    assert not _exists(admin, "third")
    assert _is_unlocked(admin)


def test_database_of_other_migrations_is_refused(
    migrator: Migrator, folder: Path, admin: Connection
) -> None:
    """For example, an unreleased version created it, whose migrations were rewritten since."""
    migrator.migrate()
    before = _ledger(admin)
    for path in folder.iterdir():
        path.rename(path.with_name(f"1999{path.name[4:]}"))

    with pytest.raises(MigrationError, match=f"its first one is {BASELINE[0]}, .* a new, empty"):
        migrator.migrate()
    with pytest.raises(MigrationError, match="created from other migrations"):
        migrator.roll_back(1, force=True)
    assert len(migrator.status().problems) == 1
    assert _ledger(admin) == before


def test_migration_of_a_newer_release_can_be_rolled_back(
    migrator: Migrator, folder: Path, admin: Connection
) -> None:
    """During a rolling update, an old instance may restart after a new one has migrated."""
    _add(folder, FIRST, "create table first (a integer);", "drop table first;")
    migrator.migrate()
    _delete(folder)

    assert migrator.migrate() == []
    assert migrator.status().newer == [FIRST]
    assert migrator.roll_back(1) == [FIRST]
    assert not _exists(admin, "first")


def test_migration_without_statements_is_refused(
    migrator: Migrator, folder: Path, admin: Connection
) -> None:
    _add(folder, FIRST, "create table first (a integer);", "drop table first;")
    new_files("AddNothing", 1999999900001, folder)

    with pytest.raises(MigrationError, match=r"1999999900001-AddNothing\.sql has no statement"):
        migrator.migrate()

    assert not _exists(admin, "first")


@pytest.mark.parametrize("transactional", [True, False])
def test_edited_migration_is_rolled_back_by_force_as_applied(
    migrator: Migrator, folder: Path, admin: Connection, *, transactional: bool
) -> None:
    up, down = "create table first (a integer);", "drop table first;"
    _add(folder, FIRST, up, down, transactional=transactional)
    migrator.migrate()
    _add(folder, FIRST, "create table second (a integer);", "drop table second;")

    with pytest.raises(MigrationError, match="database rollback --force"):
        migrator.migrate()
    with pytest.raises(MigrationError, match="edited since"):
        migrator.roll_back(1)
    assert migrator.roll_back(1, force=True) == [FIRST]
    assert not _exists(admin, "first")
    assert migrator.migrate() == [FIRST]
    assert _exists(admin, "second")
    log = admin.execute("select detail from access_log where resource = %s", [FIRST]).fetchall()
    assert log == [("rolled back by tests, forced",)]


def test_migration_of_another_branch_is_rolled_back_by_force(
    migrator: Migrator, folder: Path
) -> None:
    """Its file is missing, and an older migration is pending."""
    _add(folder, SECOND, "create table second (a integer);", "drop table second;")
    migrator.migrate()
    for path in folder.glob(f"{SECOND}.*"):
        path.unlink()
    _add(folder, FIRST, "create table first (a integer);", "drop table first;")
    _add(folder, THIRD, "create table third (a integer);", "drop table third;")

    with pytest.raises(MigrationError, match=f"{SECOND} was applied, and its file is missing"):
        migrator.roll_back(1)
    assert migrator.roll_back(1, force=True) == [SECOND]
    assert migrator.migrate() == [FIRST, THIRD]


def test_edit_before_the_latest_migration_cannot_be_forced(
    migrator: Migrator, folder: Path, admin: Connection
) -> None:
    for name in (FIRST, SECOND):
        _add(folder, name, "select 1;", "select 1;")
    migrator.migrate()
    before = _ledger(admin)
    _edit(folder)

    with pytest.raises(MigrationError, match=f"{FIRST} was applied, and its file was edited"):
        migrator.roll_back(1, force=True)

    assert _ledger(admin) == before


def test_changed_line_endings_are_not_an_edit(migrator: Migrator, folder: Path) -> None:
    """Git writes LF or CRLF, depending on the settings of the machine."""
    migrator.migrate()
    for path in folder.iterdir():
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))

    assert migrator.migrate() == []


@_EMPTY
def test_status_reports_problems_and_changes_nothing(
    migrator: Migrator, folder: Path, admin: Connection
) -> None:
    before = migrator.status()
    assert not _exists(admin, "migrations")
    _add(folder, FIRST, "select 1;")
    migrator.migrate()
    _edit(folder)
    _add_older(folder)
    after = migrator.status()

    assert [file.name for file in before.pending] == BASELINE
    assert len(after.problems) == 2


_INDEX = "create index concurrently if not exists things_a_index on things (a);"


def test_file_without_transaction_is_applied_and_rolled_back(
    migrator: Migrator, folder: Path, admin: Connection
) -> None:
    _add(folder, FIRST, "create table things (a integer);", "drop table things;")
    _add(
        folder,
        SECOND,
        _INDEX,
        "drop index concurrently if exists things_a_index;",
        transactional=False,
    )

    migrator.migrate()

    assert _index_is_valid(admin, "things_a_index")
    assert _ledger(admin)[SECOND] == "applied"
    assert migrator.roll_back(1) == [SECOND]
    assert not _exists(admin, "things_a_index")
    assert SECOND not in _ledger(admin)


def test_failed_file_without_transaction_stays_running(
    migrator: Migrator, folder: Path, admin: Connection
) -> None:
    _add(folder, FIRST, "create table things (a integer);")
    _add(folder, SECOND, _INDEX.replace("(a)", "(b)"), transactional=False)

    with pytest.raises(MigrationError, match=f"^{SECOND} failed: column"):
        migrator.migrate()

    assert _ledger(admin)[SECOND] == "running"
    assert [file.name for file in migrator.status().pending] == [SECOND]
    assert _is_unlocked(admin)


def test_failed_file_without_transaction_may_be_edited(migrator: Migrator, folder: Path) -> None:
    """The ledger must store the text that was applied, or the next start fails."""
    _add(folder, FIRST, "create table things (a integer);")
    _add(folder, SECOND, _INDEX.replace("(a)", "(b)"), transactional=False)
    with pytest.raises(MigrationError):
        migrator.migrate()

    _add(folder, SECOND, _INDEX, transactional=False)
    migrator.migrate()

    assert migrator.status().problems == []
    assert migrator.migrate() == []


def test_failed_file_without_transaction_can_be_rolled_back(
    migrator: Migrator, folder: Path, admin: Connection
) -> None:
    _add(folder, FIRST, "create table things (a integer);")
    down = "drop index concurrently if exists things_a_index;"
    _add(folder, SECOND, _INDEX.replace("(a)", "(b)"), down, transactional=False)
    with pytest.raises(MigrationError):
        migrator.migrate()

    assert migrator.roll_back(1) == [SECOND]
    assert SECOND not in _ledger(admin)


def test_migration_with_an_invalid_index_is_not_applied(
    migrator: Migrator, folder: Path, admin: Connection
) -> None:
    """`if not exists` skips an invalid index, and an invalid unique index allows duplicates."""
    _add(folder, FIRST, "create table things as select 1 as a from generate_series(1, 2);")
    _add(folder, SECOND, _INDEX.replace("create", "create unique"), transactional=False)
    with pytest.raises(MigrationError):
        migrator.migrate()
    assert _exists(admin, "things_a_index")
    admin.execute("delete from things where ctid <> (select min(ctid) from things)")

    with suppress(MigrationError):
        migrator.migrate()

    assert _index_is_valid(admin, "things_a_index") or _ledger(admin)[SECOND] == "running"


def test_running_migration_without_file_rolls_back_recorded_text(
    migrator: Migrator, folder: Path, admin: Connection
) -> None:
    _add(folder, FIRST, "create table things (a integer);")
    _add(folder, SECOND, _INDEX.replace("(a)", "(b)"), transactional=False)
    with pytest.raises(MigrationError):
        migrator.migrate()
    for path in folder.glob(f"{SECOND}.*"):
        path.unlink()

    assert _ledger(admin)[SECOND] == "running"
    assert migrator.roll_back(1) == [SECOND]
    assert SECOND not in _ledger(admin)


def test_session_setting_ends_with_its_file(
    migrator: Migrator, folder: Path, admin: Connection
) -> None:
    _add(folder, FIRST, "set statement_timeout = '7s';")
    _add(folder, SECOND, "create table seen as select current_setting('statement_timeout') as v;")
    migrator.migrate()

    assert admin.execute("select v from seen").fetchone() == ("0",)


@pytest.mark.slow
@_EMPTY
def test_concurrent_migrators_apply_each_file_once(
    migrator: Migrator, folder: Path, admin: Connection
) -> None:
    """One file runs without a transaction. A waiting migrator must not block its index build."""
    _add(folder, FIRST, "create table things (a integer);")
    _add(folder, SECOND, _INDEX, transactional=False)

    with (
        _child(migrator.target, folder) as a,
        _child(migrator.target, folder) as b,
        _child(migrator.target, folder) as c,
        _child(migrator.target, folder) as d,
    ):
        outcomes = [
            (*process.communicate(timeout=HANG_SECONDS), process) for process in (a, b, c, d)
        ]

    assert [(process.returncode, errors) for _, errors, process in outcomes] == [(0, "")] * 4
    lists = sorted((json.loads(output) for output, _, _ in outcomes), key=len)
    assert lists == [[], [], [], [*BASELINE, FIRST, SECOND]]
    assert _index_is_valid(admin, "things_a_index")
    assert set(_ledger(admin).values()) == {"applied"}


def test_next_run_continues_after_a_kill(
    migrator: Migrator, folder: Path, admin: Connection
) -> None:
    admin.execute("create table pause as select 1 as a; grant all on pause to public")
    _add(
        folder,
        FIRST,
        "create table first (a integer);select pg_sleep(3600) where exists (select from pause);",
    )
    with _child(migrator.target, folder) as process:
        _wait(lambda: _is_running(admin, "pg_sleep(3600)"))
        process.send_signal(signal.SIGKILL)
        process.communicate()
    admin.execute("delete from pause")
    if admin.info.server_version < 140_000:
        # Before version 14, a server does not detect a lost client during a statement.
        admin.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity "
            "where datname = current_database() and query like '%pg_sleep(3600)%' "
            "and pid <> pg_backend_pid()"
        )

    assert migrator.migrate() == [FIRST]

    assert _exists(admin, "first")
    assert migrator.status().problems == []


@pytest.mark.slow
def test_next_run_continues_a_killed_file_without_transaction(
    migrator: Migrator, folder: Path, admin: Connection, server: Server
) -> None:
    """The kill leaves an invalid index, which the first statement of the file drops."""
    _add(folder, FIRST, "create table things (a integer);")
    migrator.migrate()
    _add(
        folder,
        SECOND,
        "drop index concurrently if exists things_a_index;\n"
        "create index concurrently things_a_index on things (a);",
        transactional=False,
    )
    with (
        server.admin("migrations") as writer,
        writer.transaction(force_rollback=True),
        _child(migrator.target, folder) as process,
    ):
        writer.execute("insert into flagstone.things values (1)")
        _wait(lambda: _is_running(admin, "create index concurrently"))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        _wait(lambda: not _is_running(admin, "create index concurrently"))
    is_invalid = _exists(admin, "things_a_index") and not _index_is_valid(admin, "things_a_index")
    state = _ledger(admin)[SECOND]

    assert migrator.migrate() == [SECOND]

    assert (is_invalid, state) == (True, "running")
    assert _index_is_valid(admin, "things_a_index")
    assert _ledger(admin)[SECOND] == "applied"


@_EMPTY
def test_index_of_lifetimes_is_built_again_after_a_failure(
    migrator: Migrator, folder: Path, admin: Connection
) -> None:
    (name,) = (name for name in BASELINE if name.endswith("-AddLifetimesIndex"))
    for file in folder.iterdir():
        if file.name > f"{name}.sql":
            file.unlink()
    migrator.migrate()
    admin.execute("update migrations set state = 'running' where name = %s", [name])
    admin.execute(
        "update pg_index set indisvalid = false "
        "where indexrelid = 'changes_lifetimes_index'::regclass"
    )

    assert migrator.migrate() == [name]

    assert _index_is_valid(admin, "changes_lifetimes_index")
    assert _ledger(admin)[name] == "applied"


@pytest.mark.slow
def test_build_of_an_index_reports_progress(
    migrator: Migrator, folder: Path, admin: Connection, server: Server
) -> None:
    """The build waits for a writer, whose transaction ends after the first report."""
    _add(folder, FIRST, "create table things (a integer);")
    migrator.migrate()
    _add(folder, SECOND, _INDEX, transactional=False)
    reports: list[tuple[str, str]] = []
    with server.admin("migrations") as writer:
        writer.execute("begin; insert into flagstone.things values (1)")
        blocker = writer.info.backend_pid

        def report(name: str, step: str) -> None:
            reports.append((name, step))
            with suppress(psycopg.Error):
                writer.execute("commit")

        migrator.migrate(on_build=report)

    assert reports[0] == (SECOND, f"waiting for writers before build, 0 of 1, PID {blocker}")
    assert _index_is_valid(admin, "things_a_index")


def test_waiting_migrator_does_not_block_an_index_build(
    migrator: Migrator, admin: Connection
) -> None:
    """A wait in pg_advisory_lock holds a snapshot, for which each concurrent build waits."""
    migrator.migrate()
    admin.execute("select pg_advisory_lock(%s)", [LOCK_KEY])
    done = threading.Event()

    def wait() -> None:
        migrator.migrate()
        done.set()

    waiter = threading.Thread(target=wait, daemon=True)
    waiter.start()
    _wait(lambda: _waits(admin))

    admin.execute("create index concurrently things_index on environments (created_at)")
    waited = _waiting_inside(admin)
    was_waiting = not done.is_set()
    admin.execute("select pg_advisory_unlock(%s)", [LOCK_KEY])

    assert was_waiting
    assert waited == (0,)
    assert done.wait(HANG_SECONDS)
    waiter.join()


def _waits(admin: Connection) -> bool:
    """Return whether a migrator polls for the lock. A finished one may be listed for a while."""
    row = admin.execute(
        "select count(*) from pg_stat_activity where datname = current_database() "
        "and application_name = 'flagstone-migrations' and query like '%pg_try_advisory_lock%'"
    ).fetchone()
    return row is not None and row != (0,)


def _waiting_inside(admin: Connection) -> object:
    return admin.execute(
        "select count(*) from pg_locks where locktype = 'advisory' and not granted"
    ).fetchone()


async def test_migration_gives_way_to_a_request(
    migrator: Migrator, folder: Path, admin: Connection, server: Server
) -> None:
    """The request has one table, and waits for the other: a deadlock, unless one gives way."""
    migrator.migrate()
    up = "alter table {} add column more text;"
    _add(folder, FIRST, f"{up.format('environments')}\n{up.format('tokens')}")
    with capture_logs() as logged, server.admin("migrations") as request, request.transaction():
        request.execute("set local lock_timeout = '1s'")
        request.execute("lock table flagstone.tokens in row exclusive mode")
        waiter = asyncio.create_task(asyncio.to_thread(migrator.migrate))
        await asyncio.sleep(0)
        await asyncio.to_thread(_wait, lambda: _waits_for_a_table(admin))
        read = await asyncio.to_thread(
            request.execute, "select count(*) from flagstone.environments"
        )
        await asyncio.to_thread(_wait, lambda: bool(_of_migrations(logged)))
        assert read.rowcount == 1
        assert not waiter.done()

    assert await asyncio.wait_for(waiter, HANG_SECONDS) == [FIRST]
    assert _of_migrations(logged) == ["migration_waits_for_table"]


def _of_migrations(logged: list[EventDict]) -> list[str]:
    """Return the events of the migrator. What other tests left behind may log beside it."""
    events = [str(line["event"]) for line in logged]
    return [event for event in events if event.startswith("migration_")]


def _waits_for_a_table(admin: Connection) -> bool:
    row = admin.execute(
        "select count(*) from pg_locks where locktype = 'relation' and not granted"
    ).fetchone()
    return row == (1,)


def test_connection_failure_blames_no_file(migrator: Migrator) -> None:
    unauthorized = Migrator(
        target=migrator.target.as_role(MIGRATOR, Secret("wrong")),
        settings=migrator.settings,
        instance="tests",
        folder=migrator.folder,
    )

    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        unauthorized.migrate()
