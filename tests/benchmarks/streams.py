"""Measure a thousand streams of one instance: the delay of an event and the memory.

Other processes delay a few changes at a time, so the high percentile of the median round counts.
"""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import cast

from rich.progress import Progress

from tests.benchmarks.connection import Connection, connected, require_good
from tests.benchmarks.figures import PROCESSOR, Figure, latencies
from tests.benchmarks.memory import KIB, settled_bytes
from tests.benchmarks.processes import LOCAL, Service, data_folder, service
from tests.benchmarks.processor import processor_time

CLIENTS = 1_000
ROUNDS = 5
CHANGES = 30
_AT_ONCE = 50
_CONNECT_SECONDS = 60
_REST_SECONDS = 0.02
_EVENT = b"event: change\n"
_KEY = "bench/stream"


class Room:
    """Counts the streams that received the event; `hear` returns once all have."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._missing = 0
        self._all = asyncio.Event()

    def expect(self) -> None:
        self._missing = self.size
        self._all.clear()

    def one_has_it(self) -> None:
        self._missing -= 1
        if self._missing == 0:
            self._all.set()

    async def all_have_it(self, seconds: float = 10) -> None:
        async with asyncio.timeout(seconds):
            await self._all.wait()


class _Listener(asyncio.Protocol):
    """One connection that reads a stream for as long as it is open."""

    def __init__(self, request: bytes, room: Room) -> None:
        self._request = request
        self._room = room
        self._began = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        if not self._began and b"retry: " in data:
            self._began = True
            self._room.one_has_it()
        # Each change arrives in one write; the next is sent after all have this one.
        if _EVENT in data:
            self._room.one_has_it()


async def measure(progress: Progress) -> list[Figure]:
    """Measure memory before and after a thousand connect, then changes sent to all."""
    with data_folder() as folder, service(folder, "tests.benchmarks.memory") as served:
        async with connected(served.port) as connection:
            # The first streams load code and caches that are not a client's share.
            async with listening([served], _AT_ONCE) as room:
                await tell_all(served, connection, room, version=0)
            progress.add_task("streams: memory before", total=None)
            before = await settled_bytes(served.pid)
            async with listening([served], CLIENTS) as room:
                after = await settled_bytes(served.pid)
                started = processor_time(served.pid, None)
                rounds = await _changes(served, connection, room, progress)
                used = processor_time(served.pid, None).since(started).service
    return [
        *latencies(f"PUT until {CLIENTS:,} streams have it", rounds),
        Figure(
            case="one event to one stream",
            value=used / (ROUNDS * CHANGES * CLIENTS) * 1e6,
            unit=PROCESSOR,
            detail=f"of the service, with 1/{CLIENTS:,} of the PUT",
        ),
        Figure(
            case="memory of one stream",
            value=(after - before) / CLIENTS / KIB,
            unit="KiB",
            detail=f"resident, collected: {before / KIB:,.0f} → {after / KIB:,.0f} KiB",
        ),
    ]


@asynccontextmanager
async def listening(instances: Sequence[Service], clients: int) -> AsyncIterator[Room]:
    """Connect this many clients to each instance, and yield once each stream has started."""
    loop = asyncio.get_running_loop()
    room = Room(clients * len(instances))
    room.expect()
    limit = asyncio.Semaphore(_AT_ONCE)

    async def connect(served: Service) -> _Listener:
        request = served.request("GET", f"{LOCAL}/events")
        async with limit:
            _, listener = await loop.create_connection(
                lambda: _Listener(request, room), "127.0.0.1", served.port
            )
            return listener

    listeners = await asyncio.gather(
        *(connect(served) for served in instances for _ in range(clients))
    )
    try:
        await room.all_have_it(_CONNECT_SECONDS)
        yield room
    finally:
        for listener in listeners:
            listener.transport.abort()


async def _changes(
    served: Service, connection: Connection, room: Room, progress: Progress
) -> list[list[float]]:
    task = progress.add_task(f"streams: changes to {CLIENTS:,}", total=ROUNDS * CHANGES)
    rounds: list[list[float]] = [[] for _ in range(ROUNDS)]
    versions = itertools.count(1)
    for seconds in rounds:
        for version in itertools.islice(versions, CHANGES):
            seconds.append(await tell_all(served, connection, room, version))
            progress.advance(task)
            await asyncio.sleep(_REST_SECONDS)
    return rounds


async def tell_all(served: Service, connection: Connection, room: Room, version: int) -> float:
    """Write the version after the given one; return the seconds until all have its event."""
    room.expect()
    started = time.perf_counter()
    require_good(await connection.ask(served.put(_KEY, b'{"value": "a change"}', version)))
    await room.all_have_it()
    return time.perf_counter() - started
