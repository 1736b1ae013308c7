"""Scheduled backups, with their health check and metrics."""

import asyncio
from collections.abc import Callable
from typing import Any

from aiohttp import ClientSession

from tests.process.conftest import Process
from tests.waiting import until


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


async def _get(client: ClientSession, service: Process, path: str) -> str:
    async with client.get(f"{service.url}{path}", headers=service.headers) as answer:
        return await answer.text()


async def _says(client: ClientSession, service: Process, status: str, text: str) -> bool:
    async with client.get(f"{service.url}/health", headers=service.headers) as answer:
        check: dict[str, Any] = (await answer.json(content_type=None))["checks"]["backups"][0]
    return check["status"] == status and text in check.values()
