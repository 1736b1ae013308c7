"""Measure a large installation: 100 environments, 50,000 entries, 1,000,000 revisions.

The starts, the memory, the first request for a large environment, pages of lists and of the
history, and the processor time of a change at an instance that did not make it.
"""

import asyncio
import shutil
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.progress import Progress

from app.configuration.snapshots.disk import FOLDER
from tests.benchmarks.connection import Connection, connected, require_good
from tests.benchmarks.console import probing, sign_in
from tests.benchmarks.figures import PROCESSOR, Figure, latencies
from tests.benchmarks.footprint import proportional_bytes
from tests.benchmarks.large_data import LARGEST, fill
from tests.benchmarks.memory import MIB
from tests.benchmarks.processes import Service, data_folder, free_port, running, service
from tests.benchmarks.processor import processor_time, service_processes

_ROUNDS = 3
_REQUESTS = 10
_STARTS = 3
_SETTLE_SECONDS = 5.0
_CHANGES = 60
_IDLE_SECONDS = 10.0
_PATH = f"/v1/environments/{LARGEST.name}"
_CONSOLE = f"/console/environments/{LARGEST.name}"
_KEY = "area-7/key-7"
# No server listens there.
_NO_DATABASE = "postgresql://flagstone:none@127.0.0.1:1/flagstone"


async def measure(progress: Progress) -> list[Figure]:
    """Fill a database, and measure instances of it."""
    with data_folder() as folder:
        # It runs an event loop of its own.
        await asyncio.to_thread(fill, folder, progress)
        task = progress.add_task("large: starts", total=5)
        figures = await _starts(folder)
        progress.update(task, advance=1, description="large: all in memory")
        with service(folder, SNAPSHOT_IDLE_SECONDS="0") as served:
            figures.append(_memory("memory, all environments", await _settled_bytes(served)))
        with service(folder) as served, service(folder) as other:
            figures.append(_memory("memory, after a start", await _settled_bytes(other)))
            progress.update(task, advance=1, description="large: pages")
            async with connected(served.port) as connection:
                figures += await _first_request(served, connection)
                cookie = await sign_in(served)
                for case, request in _pages(served, cookie).items():
                    figures += await _measured(case, request, connection)
                progress.update(task, advance=1, description="large: changes")
                figures += await _changes(served, other, connection)
        progress.update(task, advance=1, description="large: start without database")
        figures += _start_without_database(folder)
        progress.advance(task)
    return figures


async def _starts(folder: Path) -> list[Figure]:
    """Measure starts without a copy on the disk, and beside a running PostgreSQL."""
    seconds, processor = [], []
    with service(folder):
        for _ in range(_STARTS):
            shutil.rmtree(folder / FOLDER, ignore_errors=True)
            started = time.perf_counter()
            with service(folder) as served:
                seconds.append(time.perf_counter() - started)
                processor.append(served.processor_time().service)
    return [
        Figure(case="start", unit="s", value=statistics.median(seconds)),
        Figure(case="start", unit="s of processor", value=statistics.median(processor)),
    ]


def _start_without_database(folder: Path) -> list[Figure]:
    """Measure a start that serves the copy on the disk."""
    port = free_port()
    variables = {"DATA_DIR": str(folder), "PORT": str(port), "DATABASE_URL": _NO_DATABASE}
    started = time.perf_counter()
    url = f"http://127.0.0.1:{port}/health/ready"
    arguments = [sys.executable, "-m", "app", "serve"]
    log = folder / "without-database.log"
    with running(arguments, url, variables, log, expected=b'"status":"warn"') as pid:
        seconds = time.perf_counter() - started
        processor = processor_time(pid, None).service
    case = "start without database, from the disk"
    return [
        Figure(case=case, unit="s", value=seconds),
        Figure(case=case, unit="s of processor", value=processor),
    ]


async def _settled_bytes(served: Service) -> int:
    await asyncio.sleep(_SETTLE_SECONDS)
    return sum(proportional_bytes(process.pid) for process in service_processes(served.pid))


def _memory(case: str, amount: int) -> Figure:
    return Figure(case=case, unit="MiB", value=amount / MIB)


async def _first_request(served: Service, connection: Connection) -> list[Figure]:
    """Measure the request that loads the largest environment, and the stalls meanwhile."""
    request = served.request("GET", f"{_PATH}/configurations/{_KEY}")
    case, before = f"first request, {LARGEST.entries:,} entries", served.processor_time()
    async with probing(served.port) as waits:
        started = time.perf_counter()
        require_good(await connection.ask(request))
        seconds = time.perf_counter() - started
    used = served.processor_time().since(before)
    return [
        Figure(case=case, unit="s", value=seconds),
        Figure(case=case, unit="s of processor", value=used.service, detail="with the probes"),
        Figure(case=case, unit="ms, longest stall", value=max(waits) * 1000),
    ]


def _pages(served: Service, cookie: str) -> Mapping[str, bytes]:
    def shown(path: str) -> bytes:
        head = f"GET {_CONSOLE}{path} HTTP/1.1\r\nHost: x\r\nCookie: {cookie}\r\n\r\n"
        return head.encode()

    paths = {
        "list, first page": "/configurations?limit=100",
        "list, deep": "/configurations?limit=100&after=area-5/key-55",
        "list, prefix": "/configurations?limit=100&prefix=area-33",
        "history, first page": "/changes?limit=100",
        "history, deep": "/changes?limit=100&before=1000",
        "history of one key": f"/configurations/{_KEY}/history?limit=100",
    }
    return {
        **{case: served.request("GET", _PATH + path) for case, path in paths.items()},
        "console: history": shown("/changes"),
        "console: history, author": shown("/changes?author=token:bench-7"),
        "console: history, key": shown("/changes?key=key-7777"),
        "console: history, no match": shown("/changes?key=nothing"),
        "console: history, until a day": shown("/changes?until=2026-09-01"),
    }


async def _measured(case: str, request: bytes, connection: Connection) -> list[Figure]:
    rounds: list[list[float]] = [[] for _ in range(_ROUNDS)]
    require_good(await connection.ask(request))
    for seconds in rounds:
        for _ in range(_REQUESTS):
            started = time.perf_counter()
            require_good(await connection.ask(request))
            seconds.append(time.perf_counter() - started)
    return latencies(case, rounds)


async def _changes(served: Service, other: Service, connection: Connection) -> Sequence[Figure]:
    """Measure changes of the largest environment at an instance that has it in memory."""
    async with connected(other.port) as reader:
        path = f"{_PATH}/configurations/{_KEY}"
        require_good(await reader.ask(other.request("GET", path)))
    await asyncio.sleep(_SETTLE_SECONDS)
    before = processor_time(other.pid, None)
    await asyncio.sleep(_IDLE_SECONDS)
    idle = processor_time(other.pid, None).since(before).service / _IDLE_SECONDS
    before, started = processor_time(other.pid, None), time.perf_counter()
    for version in range(_CHANGES):
        body = b'{"value": %d}' % version
        request = served.put("bench/key", body, version, environment=LARGEST.name)
        require_good(await connection.ask(request))
        # Each change is applied, and written to the disk, alone.
        await asyncio.sleep(0.1)
    await asyncio.sleep(1)
    used = processor_time(other.pid, None).since(before).service
    used -= idle * (time.perf_counter() - started)
    return [
        Figure(case="an idle instance", unit="ms of processor per s", value=idle * 1000),
        Figure(case="one change, at a replica", unit=PROCESSOR, value=used / _CHANGES * 1e6),
    ]
