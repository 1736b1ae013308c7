"""The service as its own process, as an operator runs it."""

import asyncio
import atexit
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import psutil
import pytest
from aiohttp import ClientError, ClientSession, ClientTimeout

from app.database.role_names import APP
from tests.conftest import Server
from tests.paths import ROOT
from tests.ports import free_port
from tests.waiting import HANG_SECONDS, until


@dataclass
class Process:
    """One `python -m app serve`, with an embedded server in its own data folder by default."""

    data_dir: Path
    port: int
    environment: dict[str, str] = field(default_factory=dict)
    # Where its code is: another folder stands for another release.
    code: Path = ROOT
    child: asyncio.subprocess.Process | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        return (self.data_dir / f"service-{self.port}.log").read_text()

    @property
    def token(self) -> str:
        return (self.data_dir / "admin-token").read_text().strip()

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}

    async def start(self, *command: str) -> None:
        await self.start_module("app", *(command or ("serve",)))

    async def start_module(self, *arguments: str) -> None:
        log = (self.data_dir / f"service-{self.port}.log").open("ab")
        with log:
            self.child = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", *arguments),
                cwd=self.code,
                env={
                    **os.environ,
                    "DATA_DIR": str(self.data_dir),
                    "PORT": str(self.port),
                    "LOG_FORMAT": "json",
                    **self.environment,
                },
                stdout=log,
                stderr=log,
            )

    async def ready(self) -> None:
        """Wait until readiness says so."""

        async def is_ready(client: ClientSession) -> bool:
            async with client.get(f"{self.url}/health/ready") as answer:
                return answer.status == 200

        assert self.child is not None
        async with ClientSession() as client:
            await until(lambda: is_ready(client), self._still_there)

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
    """Run a command to its end; return its exit code and all that it has said."""
    process = launch(LOG_LEVEL="error", COLUMNS="200", **environment)
    await process.start(*command)
    assert process.child is not None
    return await process.child.wait(), process.log


@pytest.fixture
def data_dir() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="flagstone-process-"))
    folder.chmod(0o755)
    yield folder
    with suppress(OSError, ValueError, psutil.Error):
        # A test that failed half-way may leave the server; its folder names it.
        psutil.Process(int((folder / "pg18/postmaster.pid").read_text().split()[0])).kill()
    shutil.rmtree(folder, ignore_errors=True)


@cache
def _migrated() -> Path:
    """A data folder with a stopped, migrated server and nothing in it, made once a test process."""
    folder = Path(tempfile.mkdtemp(prefix="flagstone-migrated-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    folder.chmod(0o755)
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
    """Make processes that are ended with the test.

    Unless a test is marked as `first_start`, their server has been made and migrated already:
    that takes longer than most of what is tried with it.
    """
    made: list[Process] = []
    is_first_start = request.node.get_closest_marker("first_start") is not None

    def make(**environment: str) -> Process:
        if not made and not is_first_start and "DATABASE_URL" not in environment:
            # With its owner, who is not ours when we are root.
            subprocess.run(["cp", "-a", f"{_migrated()}/.", data_dir], check=True)
            # The URLs lead to the socket of the folder that was copied.
            before, after = (quote(str(folder), safe="") for folder in (_migrated(), data_dir))
            for file in (data_dir / "credentials").glob("*.url"):
                file.write_text(file.read_text().replace(before, after))
        process = Process(data_dir=data_dir, port=free_port(), environment=environment)
        made.append(process)
        return process

    yield make
    for process in made:
        if process.child is not None and process.child.returncode is None:
            process.child.kill()
            await process.child.wait()


@pytest.fixture
def launch_beside(
    launch: Callable[..., Process], server: Server
) -> Iterator[Callable[..., Process]]:
    """Make processes on one migrated database of the server that the suite shares.

    For what is not about a server of one's own, as that takes two seconds to make and to start.
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


# Where to be refused for want of time would be right, and is not what is tested.
PATIENT = {
    "DATABASE_ACQUIRE_TIMEOUT": "5",
    "DATABASE_LOCK_TIMEOUT": "5",
    "DATABASE_COMMAND_TIMEOUT": "10",
    "REQUEST_TIMEOUT": "30",
}


async def put(client: ClientSession, process: Process, key: str, value: Any, **headers: str) -> int:
    """Write one new entry; 0 stands for a broken connection."""
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
