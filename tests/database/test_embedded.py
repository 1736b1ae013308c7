"""Test the embedded server: it is private, processes share it, and it survives kill -9."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import psutil
import psycopg
import pytest

from app.database.client.drivers import libpq_arguments
from app.database.embedded import EmbeddedError, EmbeddedServer
from app.database.embedded.account import choose_account
from app.database.embedded.cluster import MAJOR
from app.settings import Secret, load
from tests.database.full_postgres import open_folder
from tests.paths import ROOT
from tests.processes import has_ended
from tests.waiting import HANG_SECONDS

OPTIONS = ("fsync=off", "shared_buffers=16MB")
AS_ROOT = pytest.mark.skipif(
    os.geteuid() != 0, reason="only root runs the server as another account"
)

_SCRIPT = """
import sys
from pathlib import Path
from app import log
from app.database.embedded import EmbeddedServer
from app.settings import load

settings = load({})
log.configure(settings.log.level, settings.log.format)
server = EmbeddedServer(Path(sys.argv[1]), options=("fsync=off", "shared_buffers=16MB"))
server.start()
print("ready", flush=True)
sys.stdin.readline()
server.leave()
print("left", flush=True)
"""


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    """Yield a folder with a server, which is stopped between tests."""
    with open_folder("flagstone-embedded-") as folder:
        server = EmbeddedServer(folder, options=OPTIONS)
        server.start()
        server.leave()
        yield folder


@pytest.fixture
def empty_folder() -> Iterator[Path]:
    """Yield an empty folder."""
    with open_folder("flagstone-embedded-") as folder:
        yield folder


@contextmanager
def _started(folder: Path) -> Iterator[EmbeddedServer]:
    server = EmbeddedServer(folder, options=OPTIONS)
    try:
        server.start()
        yield server
    finally:
        server.stop()
        server.leave()


@contextmanager
def _user(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Run a process that uses the server until it reads a line. Wait until it is ready."""
    with _starting_user(folder) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process


@contextmanager
def _starting_user(folder: Path) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-c", _SCRIPT, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    ) as process:
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):
                process.kill()


def _connect(server: EmbeddedServer) -> psycopg.Connection[tuple[object, ...]]:
    arguments = libpq_arguments(server.superuser, load({}).database)
    return psycopg.connect(**arguments, autocommit=True)


def _postmaster(folder: Path) -> psutil.Process:
    return psutil.Process(int((folder / f"pg{MAJOR}" / "postmaster.pid").read_text().split()[0]))


def _wait(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + HANG_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _kill_postmaster(folder: Path) -> int:
    """Kill the server as the kernel does without memory, and wait until its children exit."""
    process = _postmaster(folder)
    children = process.children()
    process.kill()
    _wait(lambda: all(map(has_ended, [process, *children])))
    return process.pid


def test_embedded_server_opens_no_tcp_port(home: Path) -> None:
    with _started(home) as server, _connect(server) as connection:
        sockets = _postmaster(home).net_connections(kind="inet")
        addresses = connection.execute("show listen_addresses").fetchone()

    assert sockets == []
    assert addresses == ("",)


def test_embedded_server_asks_for_a_password(home: Path) -> None:
    rules = [
        line.split()
        for line in (home / f"pg{MAJOR}" / "pg_hba.conf").read_text().splitlines()
        if line.strip() and not line.startswith("#")
    ]

    with _started(home) as server:
        for password in (None, Secret(""), Secret("postgres")):
            other_target = replace(server.superuser, password=password)
            with pytest.raises(psycopg.OperationalError, match="password"):
                psycopg.connect(**libpq_arguments(other_target, load({}).database))
    assert rules
    assert {rule[-1] for rule in rules} == {"scram-sha-256"}


def test_data_folder_is_private(home: Path) -> None:
    with _started(home) as server:
        socket_folder = Path(server.superuser.hosts[0][0])
        (socket,) = socket_folder.glob(".s.PGSQL.5432")
        modes = {
            path.name: path.stat().st_mode & 0o777
            for path in (
                socket_folder,
                socket,
                home / f"pg{MAJOR}",
                home / "superuser",
                home / f"pg{MAJOR}.lock",
                home / f"pg{MAJOR}.users",
            )
        }

    assert modes == {
        "socket": 0o700,
        ".s.PGSQL.5432": 0o700,
        f"pg{MAJOR}": 0o700,
        "superuser": 0o600,
        f"pg{MAJOR}.lock": 0o600,
        f"pg{MAJOR}.users": 0o600,
    }
    assert not (home / f"pg{MAJOR}.password").exists()


def test_sort_order_ignores_the_locale(home: Path) -> None:
    with _started(home) as server, _connect(server) as connection:
        row = connection.execute(
            "select datlocprovider, datlocale, datcollate from pg_database "
            "where datname = current_database()"
        ).fetchone()

    assert row == ("b", "C.UTF-8", "C")


def test_data_survives_a_restart(home: Path) -> None:
    with _started(home) as server, _connect(server) as connection:
        connection.execute("create table saved as select 7 as a")

    with _started(home) as server, _connect(server) as connection:
        assert connection.execute("select a from saved").fetchone() == (7,)
        connection.execute("drop table saved")


def test_start_ignores_a_reused_process_id(home: Path) -> None:
    """After a restart of the machine, the id in postmaster.pid may belong to any process."""
    with _started(home) as server:
        _kill_postmaster(home)
    pid_file = home / f"pg{MAJOR}" / "postmaster.pid"
    account = choose_account(home, None)
    with subprocess.Popen(["sleep", "60"], cwd="/", **account.subprocess_arguments()) as bystander:
        try:
            lines = pid_file.read_text().split("\n")
            pid_file.write_text("\n".join([str(bystander.pid), *lines[1:]]))
            assert psutil.Process(bystander.pid).uids().real == account.uid

            with _started(home) as server, _connect(server) as connection:
                assert connection.execute("select 1").fetchone() == (1,)
                assert _postmaster(home).pid != bystander.pid

            assert bystander.poll() is None
        finally:
            bystander.kill()


def test_stop_ignores_a_reused_process_id(home: Path) -> None:
    with _started(home):
        _kill_postmaster(home)
    pid_file = home / f"pg{MAJOR}" / "postmaster.pid"
    content = pid_file.read_text()
    pid_file.write_text(f"{os.getpid()}\n")

    assert not EmbeddedServer(home).stop()

    pid_file.write_text(content)


def test_last_user_stops_the_server(home: Path) -> None:
    server = EmbeddedServer(home, options=OPTIONS)
    server.start()
    postmaster = _postmaster(home)
    with _user(home) as other:
        is_shared = _postmaster(home).pid == postmaster.pid
        server.leave()
        outlived = not has_ended(postmaster)
        output, _ = other.communicate("\n", timeout=HANG_SECONDS)

    assert (is_shared, outlived, output) == (True, True, "left\n")
    assert has_ended(postmaster)
    assert not server.stop()


def test_killed_user_does_not_count(home: Path) -> None:
    """The killed process started the server."""
    with _user(home) as killed:
        server = EmbeddedServer(home, options=OPTIONS)
        server.start()
        postmaster = _postmaster(home)
        killed.send_signal(signal.SIGKILL)
        killed.communicate()
    outlived = not has_ended(postmaster)
    server.leave()

    assert outlived
    assert has_ended(postmaster)


@pytest.mark.slow
def test_concurrent_starts_create_one_cluster(empty_folder: Path) -> None:
    with (
        _starting_user(empty_folder) as a,
        _starting_user(empty_folder) as b,
        _starting_user(empty_folder) as c,
    ):
        users = (a, b, c)
        answers = [process.stdout.readline() for process in users if process.stdout]
        postmaster = _postmaster(empty_folder)
        outputs = [process.communicate("\n", timeout=HANG_SECONDS)[0] for process in users]

    assert (answers, outputs) == (["ready\n"] * 3, ["left\n"] * 3)
    assert has_ended(postmaster)


def test_second_leave_or_stop_does_nothing(home: Path, tmp_path: Path) -> None:
    server = EmbeddedServer(home, options=OPTIONS)
    server.start()

    assert server.stop()
    assert not server.stop()
    server.leave()
    server.leave()
    assert not EmbeddedServer(tmp_path).stop()


def test_stopped_server_is_not_restarted_by_users(home: Path) -> None:
    with _started(home) as server:
        EmbeddedServer(home).stop()

        assert not server.ensure_running()

    with _started(home) as server, _connect(server) as connection:
        assert connection.execute("select 1").fetchone() == (1,)


def test_killed_server_restarts_with_its_data(home: Path) -> None:
    with _started(home) as server:
        with _connect(server) as connection:
            connection.execute("create table saved as select 7 as a")
        killed = _kill_postmaster(home)

        restarted = [server.ensure_running(), server.ensure_running()]
        with _connect(server) as connection:
            row = connection.execute("select a from saved").fetchone()
            connection.execute("drop table saved")
        assert _postmaster(home).pid != killed

    assert row == (7,)
    assert restarted == [True, False]


def test_incomplete_data_folder_is_replaced(empty_folder: Path) -> None:
    incomplete = empty_folder / f"pg{MAJOR}.new-killed"
    (incomplete / "base" / "1").mkdir(parents=True)
    (incomplete / "base" / "1" / "file").write_text("x")
    (incomplete / "base" / "link").symlink_to(empty_folder)
    (incomplete / "PG_VERSION").write_text(str(MAJOR))

    with _started(empty_folder) as server, _connect(server) as connection:
        assert connection.execute("select 1").fetchone() == (1,)

    assert list(empty_folder.glob("*.new*")) == []
    assert (empty_folder / f"pg{MAJOR}" / "PG_VERSION").exists()


def test_long_path_moves_the_socket_folder(empty_folder: Path) -> None:
    deep = empty_folder / ("d" * 60) / ("e" * 60)

    with _started(deep) as server, _connect(server) as connection:
        socket_folder = Path(server.superuser.hosts[0][0])
        mode = socket_folder.stat().st_mode & 0o777
        assert connection.execute("select 1").fetchone() == (1,)
    shutil.rmtree(socket_folder)

    assert not socket_folder.is_relative_to(empty_folder)
    assert mode == 0o700


def test_shared_socket_folder_is_refused(home: Path) -> None:
    """Another user with access to the folder could replace the socket with their own."""
    socket_folder = home / "socket"
    socket_folder.chmod(0o755)
    server = EmbeddedServer(home, options=OPTIONS)
    try:
        with pytest.raises(EmbeddedError, match="mode 0700"):
            server.start()
    finally:
        server.leave()
        socket_folder.chmod(0o700)


@AS_ROOT
def test_embedded_server_does_not_run_as_root(home: Path) -> None:
    with _started(home):
        assert _postmaster(home).uids().real != 0


@AS_ROOT
def test_start_keeps_permissions_of_parent_folders(empty_folder: Path) -> None:
    """The launcher of the wheel would let all users enter this folder."""
    closed = empty_folder / "closed"
    closed.mkdir(mode=0o700)
    server = EmbeddedServer(closed / "data", options=OPTIONS)
    try:
        with pytest.raises(EmbeddedError) as refusal:
            server.start()
    finally:
        server.leave()

    assert closed.stat().st_mode & 0o777 == 0o700
    assert empty_folder.stat().st_mode & 0o777 == 0o755
    assert "run as an ordinary user" in str(refusal.value)
    assert "set DATABASE_URL to your own server" in str(refusal.value)


@AS_ROOT
def test_server_starts_once_the_folder_is_readable(empty_folder: Path) -> None:
    """The refused start leaves no file that makes the second start fail."""
    closed = empty_folder / "closed"
    closed.mkdir(mode=0o700)
    server = EmbeddedServer(closed / "data", options=OPTIONS)
    with pytest.raises(EmbeddedError):
        server.start()
    server.leave()

    closed.chmod(0o755)

    with _started(closed / "data") as restarted, _connect(restarted) as connection:
        assert connection.execute("select 1").fetchone() == (1,)


@AS_ROOT
@pytest.mark.parametrize(
    ("account", "reason"), [("no-such-name", "no such account"), ("root", "not run as root")]
)
def test_account_that_cannot_run_postgres_is_refused(
    tmp_path: Path, account: str, reason: str
) -> None:
    with pytest.raises(EmbeddedError, match=reason):
        EmbeddedServer(tmp_path, account=account).start()
