"""The service as its own process, as an operator runs it."""

import asyncio
import fcntl
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

import psutil
import pytest
from aiohttp import ClientError, ClientSession, ClientTimeout

from app.database.role_names import APP
from tests.conftest import Server
from tests.paths import ROOT
from tests.ports import free_port
from tests.process import forks
from tests.process.forks import Fork, fork
from tests.waiting import HANG_SECONDS, until


@dataclass
class Process:
    """One `python -m app serve`, with an embedded server in its own data folder by default."""

    data_dir: Path
    port: int
    environment: dict[str, str] = field(default_factory=dict)
    # The folder of the code. Another release has another folder.
    code: Path = ROOT
    # A fork starts faster than a new interpreter. Other code cannot be forked.
    is_fork: bool = True
    child: asyncio.subprocess.Process | Fork | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        return (self.data_dir / f"service-{self.port}.log").read_text()

    @property
    def token_file(self) -> Path:
        return self.data_dir / "admin-token"

    @property
    def token(self) -> str:
        return self.token_file.read_text().strip()

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}

    async def start(self, *command: str) -> None:
        await self.start_module("app", *(command or ("serve",)))

    async def start_module(self, *arguments: str) -> None:
        environ = {
            **os.environ,
            "DATA_DIR": str(self.data_dir),
            "PORT": str(self.port),
            "LOG_FORMAT": "json",
            **self.environment,
        }
        log = (self.data_dir / f"service-{self.port}.log").open("ab")
        with log:
            if self.is_fork and self.code == ROOT:
                self.child = await fork(*arguments, environ=environ, output=log, errors=log)
                return
            self.child = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", *arguments),
                cwd=self.code,
                env=environ,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    async def ready(self) -> None:
        """Wait until the start has ended. A delayed start is ready with its stored snapshots."""

        async def is_started(client: ClientSession) -> bool:
            async with client.get(f"{self.url}/health/ready") as answer:
                if answer.status != 200:
                    return False
            if not self.token_file.exists():  # production: its operator makes the tokens
                return True
            async with client.get(f"{self.url}/health", headers=self.headers) as answer:
                checks = (await answer.json(content_type=None)).get("checks", {})
                return bool(checks and checks["lifecycle"][0]["output"] == "started")

        assert self.child is not None
        async with ClientSession() as client:
            await until(lambda: is_started(client), self._still_there)

    def _still_there(self) -> None:
        assert self.child is not None
        assert self.child.returncode is None, self.log

    async def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and return the exit code."""
        assert self.child is not None
        if self.child.returncode is None:
            self.child.send_signal(number)
        return await asyncio.wait_for(self.child.wait(), HANG_SECONDS)

    def postmaster(self) -> psutil.Process:
        return psutil.Process(int((self.data_dir / "pg18/postmaster.pid").read_text().split()[0]))


async def run(launch: Callable[..., Process], *command: str, **environment: str) -> tuple[int, str]:
    """Run a command, and return its exit code and all of its output."""
    process = launch(LOG_LEVEL="error", COLUMNS="200", **environment)
    await process.start(*command)
    assert process.child is not None
    return await process.child.wait(), process.log


class CommandResult(NamedTuple):
    code: int
    output: str
    errors: str


async def run_alone(
    *command: str, environ: Mapping[str, str], stdin: bytes = b"", cwd: Path = ROOT
) -> CommandResult:
    """Run a command with standard input, and return its exit code, output and errors."""
    with TemporaryFile() as given, TemporaryFile() as output, TemporaryFile() as errors:
        given.write(stdin)
        given.seek(0)
        child = await fork(
            *("app", *command),
            environ={**os.environ, "COLUMNS": "200", **environ},
            stdin=given,
            output=output,
            errors=errors,
            cwd=cwd,
        )
        async with asyncio.timeout(HANG_SECONDS):
            code = await child.wait()
        output.seek(0)
        errors.seek(0)
        return CommandResult(code, output.read().decode(), errors.read().decode())


@pytest.fixture(scope="session", autouse=True)
def _forks() -> Iterator[None]:
    yield
    forks.stop()


@pytest.fixture
def data_dir() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="flagstone-process-"))
    folder.chmod(0o755)
    yield folder
    with suppress(OSError, ValueError, psutil.Error):
        # The server of a service that was killed. SIGKILL would leave its shared memory.
        postmaster = int((folder / "pg18/postmaster.pid").read_text().split()[0])
        psutil.Process(postmaster).send_signal(signal.SIGQUIT)
    shutil.rmtree(folder, ignore_errors=True)


@cache
def _migrated() -> Path:
    """Return a data folder with a stopped, migrated, empty server. All test processes share it."""
    folder = Path(tempfile.gettempdir()) / "migrated"
    with Path(f"{folder}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "credentials").exists():
            folder.mkdir(0o755)
            subprocess.run(
                [sys.executable, "-m", "app", "database", "migrate"],
                check=True,
                cwd=ROOT,
                env={**os.environ, "DATA_DIR": str(folder), "LOG_LEVEL": "error"},
                stdout=subprocess.DEVNULL,
            )
    return folder


@pytest.fixture
async def launch(
    data_dir: Path, request: pytest.FixtureRequest
) -> AsyncIterator[Callable[..., Process]]:
    """Yield a function that creates processes, and kill them after the test.

    They start with a migrated server, unless the test is marked `first_start`. Migrating takes
    longer than most tests.
    """
    processes: list[Process] = []
    is_first_start = request.node.get_closest_marker("first_start") is not None

    def make(**environment: str) -> Process:
        if not processes and not is_first_start and "DATABASE_URL" not in environment:
            # Preserve the owner, which is another account if the tests run as root.
            subprocess.run(["cp", "-a", f"{_migrated()}/.", data_dir], check=True)
            # The URLs lead to the socket of the folder that was copied.
            before, after = (quote(str(folder), safe="") for folder in (_migrated(), data_dir))
            for file in (data_dir / "credentials").glob("*.url"):
                file.write_text(file.read_text().replace(before, after))
        process = Process(data_dir=data_dir, port=free_port(), environment=environment)
        processes.append(process)
        return process

    yield make
    for process in processes:
        if process.child is not None and process.child.returncode is None:
            process.child.kill()
            await process.child.wait()


@pytest.fixture
def launch_beside(
    launch: Callable[..., Process], server: Server
) -> Iterator[Callable[..., Process]]:
    """Yield a function that creates processes on one migrated database of the shared server.

    Starting a separate server takes two seconds.
    """
    name = server.create_database(f"process_{secrets.token_hex(4)}", template="flagstone")
    target = server.target(APP, name)
    ((folder, port),) = target.hosts
    password = quote(target.password.reveal()) if target.password else ""
    url = f"postgresql://{target.user}:{password}@/{name}"
    query = urlencode({"host": folder, "port": port})
    yield partial(launch, DATABASE_URL=f"{url}?{query}", MIGRATE_ON_START="false")
    server.drop_database(name)


@pytest.fixture
async def client() -> AsyncIterator[ClientSession]:
    async with ClientSession(timeout=ClientTimeout(total=HANG_SECONDS)) as session:
        yield session


# For tests in which a correct refusal after a short timeout would only disturb.
PATIENT = {
    "DATABASE_ACQUIRE_TIMEOUT": "20",
    "DATABASE_LOCK_TIMEOUT": "10",
    "DATABASE_COMMAND_TIMEOUT": "20",
    "REQUEST_TIMEOUT": "90",
}


async def put(client: ClientSession, process: Process, key: str, value: Any, **headers: str) -> int:
    """Write one new entry, and return the status, or 0 for a broken connection."""
    try:
        async with client.put(
            f"{process.url}/v1/environments/local/configurations/{key}",
            json={"value": value},
            headers=process.headers | {"If-None-Match": "*"} | headers,
        ) as answer:
            await answer.read()
            return answer.status
    except ClientError:
        return 0
