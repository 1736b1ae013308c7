"""The reports to systemd: ready, alive and stopping, from one process and from several."""

import asyncio
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.process.conftest import Process
from tests.waiting import HANG_SECONDS, until

Launch = Callable[..., Process]
# The service beats every second.
_SILENCE_SECONDS = 2.5


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    """Yield the socket of a service manager."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as received:
        received.bind(str(tmp_path / "notify"))
        received.settimeout(HANG_SECONDS)
        yield received


async def _until(manager: socket.socket, *wanted: bytes) -> list[bytes]:
    """Return the messages up to the first of these."""
    messages = [await asyncio.to_thread(manager.recv, 100)]
    while messages[-1] not in wanted:
        messages.append(await asyncio.to_thread(manager.recv, 100))
    return messages


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["1", "2"])
async def test_service_reports_ready_beats_and_stopping(
    workers: str, manager: socket.socket, launch_beside: Launch
) -> None:
    process = launch_beside(NOTIFY_SOCKET=manager.getsockname(), WORKERS=workers)
    await process.start()

    before = await _until(manager, b"READY=1")
    await process.ready()
    await _until(manager, b"WATCHDOG=1")
    code = await process.stop()
    after = await _until(manager, b"STOPPING=1")

    assert code == 0
    assert {*before[:-1]} <= {b"EXTEND_TIMEOUT_USEC=30000000"}
    assert {*after[:-1]} <= {b"WATCHDOG=1"}


@pytest.mark.slow
async def test_start_without_a_database_extends_its_limit(
    manager: socket.socket, launch: Launch
) -> None:
    process = launch(
        NOTIFY_SOCKET=manager.getsockname(), DATABASE_URL="postgresql://a@127.0.0.1:1/a"
    )
    await process.start()

    messages = [await asyncio.to_thread(manager.recv, 100) for _ in range(3)]

    assert messages == [b"EXTEND_TIMEOUT_USEC=30000000"] * 3


@pytest.mark.slow
async def test_supervisor_of_suspended_workers_is_silent(
    manager: socket.socket, launch_beside: Launch
) -> None:
    process = launch_beside(NOTIFY_SOCKET=manager.getsockname(), WORKERS="2")
    await process.start()
    await process.ready()
    assert process.child is not None
    supervisor = psutil.Process(process.child.pid)

    async def has_two_workers() -> bool:
        return len(supervisor.children()) == 2

    # The second worker starts once the first one serves.
    await until(has_two_workers)
    for worker in supervisor.children():
        worker.send_signal(signal.SIGSTOP)

    manager.settimeout(_SILENCE_SECONDS)

    # The supervisor replaces the workers after 10 s.
    with pytest.raises(TimeoutError, match="timed out"):
        await _until(manager)


async def test_gone_manager_does_not_stop_the_service(
    manager: socket.socket, launch_beside: Launch
) -> None:
    process = launch_beside(NOTIFY_SOCKET=manager.getsockname())
    await process.start()
    await _until(manager, b"READY=1")
    manager.close()

    await process.ready()

    assert await process.stop() == 0
