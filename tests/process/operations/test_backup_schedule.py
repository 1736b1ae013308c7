"""Scheduled backups, with their health check and metrics."""

import asyncio
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from aiohttp import ClientSession

from tests.process.conftest import Process
from tests.processes import children_with
from tests.waiting import until

LOWEST_PRIORITY = 19


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """Yield a folder whose sockets have short names, as the kernel requires."""
    with tempfile.TemporaryDirectory(prefix="d-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.mark.slow
async def test_schedule_creates_due_backups(
    launch: Callable[..., Process], client: ClientSession
) -> None:
    service = launch(BACKUP_INTERVAL="3600")
    await service.start()
    await service.ready()
    folder = service.data_dir / "backups"

    await until(lambda: _says(client, service, "pass", "bytes"))

    names = await asyncio.to_thread(lambda: sorted(path.name for path in folder.iterdir()))
    metrics = await _get(client, service, "/metrics")
    assert await service.stop() == 0
    assert len(names) == service.log.count("backup_made") == 1
    assert "flagstone_backup_last_success_timestamp_seconds" in metrics
    assert "Traceback" not in service.log


@pytest.mark.slow
async def test_start_removes_a_killed_drill_and_repeats_it(
    launch: Callable[..., Process], client: ClientSession, short_folder: Path
) -> None:
    folder = short_folder
    service = launch(BACKUP_INTERVAL="3600", TMPDIR=str(folder))
    await service.start()
    await service.ready()
    await until(lambda: _says(client, service, "pass", "bytes"))
    assert await service.stop() == 0
    service.environment["BACKUP_VERIFY_INTERVAL"] = "3600"
    await service.start()
    drill = await _suspended_drill(service, folder)
    await service.stop(signal.SIGKILL)
    drill.kill()
    (left,) = folder.glob("flagstone-verify-*")

    await service.start()
    await service.ready()
    await until(
        lambda: _says(client, service, "pass", "s", check="backups:drill"),
        lambda: _raise_priority(service),
    )

    assert await service.stop() == 0
    assert not await asyncio.to_thread(left.exists)
    assert "backup_drill_succeeded" in service.log
    assert "Traceback" not in service.log


async def _suspended_drill(service: Process, folder: Path) -> psutil.Process:
    """Suspend the drill of a service once it has a temporary server, and return its process.

    A drill that runs on could end before the test kills it.
    """
    assert service.child is not None
    parent = psutil.Process(service.child.pid)
    drills: list[psutil.Process] = []

    def suspend() -> bool:
        drills[:] = children_with("verify", parent)
        if not any(folder.glob("flagstone-verify-*/pg*/PG_VERSION")):
            return False
        for drill in drills:
            drill.suspend()
        return True

    await until(lambda: asyncio.to_thread(suspend), lambda: _raise_priority(service))
    (drill,) = drills
    return drill


def _raise_priority(service: Process) -> None:
    """Give the drill of a service the usual priority, if this account may.

    With the lowest one, other tests on a busy machine let it take minutes.
    """
    assert service.child is not None
    for child in psutil.Process(service.child.pid).children(recursive=True):
        with suppress(psutil.Error):
            if child.nice() == LOWEST_PRIORITY:
                child.nice(0)


async def _get(client: ClientSession, service: Process, path: str) -> str:
    async with client.get(f"{service.url}{path}", headers=service.headers) as answer:
        return await answer.text()


async def _says(
    client: ClientSession, service: Process, status: str, text: str, *, check: str = "backups"
) -> bool:
    async with client.get(f"{service.url}/health", headers=service.headers) as answer:
        report: dict[str, Any] = (await answer.json(content_type=None))["checks"][check][0]
    return report["status"] == status and text in report.values()
