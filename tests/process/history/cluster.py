"""Run three replicas on one embedded server."""

import asyncio
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import asyncpg
import psutil

from tests.ports import free_port
from tests.process.conftest import Process

REPLICAS = 3
_SETTINGS = {"SEED_ON_START": "false", "REQUEST_LOG_SAMPLE": "0"}

AWAY = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)

Admin: TypeAlias = "asyncpg.Connection[asyncpg.Record]"


@dataclass
class Replica:
    """A process of the service; `life` counts its starts."""

    name: str
    process: Process
    life: int = 1

    async def end(self, number: signal.Signals) -> None:
        code = await self.process.stop(number)
        assert code in {0, -signal.SIGKILL}, f"{self.name} ended with {code}"
        self.life += 1

    async def start(self) -> None:
        await self.process.start()
        await self.process.ready()


@dataclass(frozen=True)
class Cluster:
    folder: Path
    replicas: tuple[Replica, ...]
    headers: Mapping[str, str]

    @asynccontextmanager
    async def admin(self) -> AsyncIterator[Admin]:
        """Connect as the superuser, who may end other sessions."""
        connection: Admin = await asyncpg.connect(
            host=str(self.folder / "socket"),
            user="postgres",
            password=(self.folder / "superuser").read_text(),
            database="flagstone",
            timeout=5,
            command_timeout=5,
        )
        try:
            yield connection
        finally:
            connection.terminate()

    async def accepts(self) -> bool:
        """Return whether the database accepts connections."""
        try:
            async with self.admin() as connection:
                return bool(await connection.fetchval("select true"))
        except AWAY:
            return False

    def server(self) -> list[psutil.Process]:
        """Return the database's processes, the postmaster first; none while it is down."""
        try:
            postmaster = self.replicas[0].process.postmaster()
            return [postmaster, *postmaster.children(recursive=True)]
        except (OSError, IndexError, ValueError, psutil.NoSuchProcess):
            return []


@asynccontextmanager
async def running(folder: Path) -> AsyncIterator[Cluster]:
    """Yield three ready replicas. The database stops with the last of them."""
    replicas = tuple(
        Replica(
            f"r{n}",
            Process(folder, free_port(), environment={**_SETTINGS, "INSTANCE_ID": f"r{n}"}),
        )
        for n in range(REPLICAS)
    )
    try:
        await asyncio.gather(*(replica.start() for replica in replicas))
        yield Cluster(folder, replicas, replicas[0].process.headers)
    finally:
        await asyncio.gather(*(_end(replica.process) for replica in replicas))


async def _end(process: Process) -> None:
    if process.child is not None:
        try:
            await process.stop()
        except TimeoutError:
            await process.stop(signal.SIGKILL)
            raise
