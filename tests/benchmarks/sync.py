"""Measure flagd's sync service: a thousand simulated providers, and the event of a real one.

A simulated provider is a connection that speaks just enough HTTP/2 to open a stream and to count
its messages.
"""

import asyncio
import itertools
import queue
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import cast

import msgspec
from openfeature.contrib.provider.flagd import FlagdProvider
from openfeature.contrib.provider.flagd.config import ResolverType
from openfeature.evaluation_context import EvaluationContext
from openfeature.event import ProviderEvent
from rich.progress import Progress

from tests.api.flags import grpc_frames as frames
from tests.benchmarks.connection import Connection, connected, require_good
from tests.benchmarks.figures import PROCESSOR, Figure, latencies
from tests.benchmarks.memory import KIB, settled_bytes
from tests.benchmarks.processes import Service, data_folder, free_port, service
from tests.benchmarks.streams import Room

CLIENTS = 1_000
FLAGS = 100
ROUNDS = 5
CHANGES = 20
_AT_ONCE = 50
_REST_SECONDS = 0.02
_EVENT_SECONDS_MAX = 10
_WINDOW = 2**31 - 1
_SYNC = "/flagd.sync.v1.FlagSyncService/SyncFlags"


class _Stream(asyncio.Protocol):
    """A connection that counts the messages of its stream."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self._received = bytearray()
        self._message = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        # Windows so large that none is ever full.
        self.transport.write(
            frames.PREFACE
            + frames.settings(window=_WINDOW)
            + frames.frame(frames.WINDOW_UPDATE, 0, 0, (_WINDOW - 65_535).to_bytes(4))
            + frames.open_stream(1, _SYNC)
        )

    def data_received(self, data: bytes) -> None:
        self._received += data
        while len(self._received) >= 9:
            size = int.from_bytes(self._received[:3])
            if len(self._received) < 9 + size:
                return
            type_, flags = self._received[3], self._received[4]
            payload = bytes(self._received[9 : 9 + size])
            del self._received[: 9 + size]
            self._handle(type_, flags, payload)

    def _handle(self, type_: int, flags: int, payload: bytes) -> None:
        is_acknowledged = flags & 1
        if type_ in {frames.SETTINGS, frames.PING} and not is_acknowledged:
            answer = payload if type_ == frames.PING else b""
            self.transport.write(frames.frame(type_, 1, 0, answer))
        elif type_ == frames.DATA:
            self._message += payload
            while len(self._message) >= 5:
                end = 5 + int.from_bytes(self._message[1:5])
                if len(self._message) < end:
                    return
                del self._message[:end]
                self._room.one_has_it()


async def measure(progress: Progress) -> list[Figure]:
    """Measure one provider's events, then changes to a thousand streams and their memory."""
    port = free_port()
    variables = {"GRPC_PORT": str(port)}
    with (
        data_folder() as folder,
        service(folder, "tests.benchmarks.memory", **variables) as served,
    ):
        async with connected(served.port) as connection:
            for number in range(FLAGS):
                require_good(await connection.ask(_put(served, number)))
            events = await _events(served, port, connection, progress)
            figures = await _fan_out(served, port, connection, progress)
    return [*latencies("PUT until a provider's event", events), *figures]


async def _fan_out(
    served: Service, port: int, connection: Connection, progress: Progress
) -> list[Figure]:
    versions = itertools.count(1 + ROUNDS * CHANGES)
    # The first streams load code that is not a client's share.
    async with _listening(port, _AT_ONCE) as room:
        await _change(served, connection, room, next(versions))
    progress.add_task("sync: memory before", total=None)
    before = await settled_bytes(served.pid)
    async with _listening(port, CLIENTS) as room:
        after = await settled_bytes(served.pid)
        task = progress.add_task(f"sync: changes to {CLIENTS:,}", total=ROUNDS * CHANGES)
        rounds: list[list[float]] = [[] for _ in range(ROUNDS)]
        used = served.processor_time().service
        for seconds in rounds:
            for _ in range(CHANGES):
                seconds.append(await _change(served, connection, room, next(versions)))
                progress.advance(task)
                await asyncio.sleep(_REST_SECONDS)
        used = served.processor_time().service - used
    messages = ROUNDS * CHANGES * CLIENTS
    return [
        *latencies(f"PUT until {CLIENTS:,} providers have it", rounds),
        Figure(case="a message to one stream", value=used / messages * 1e6, unit=PROCESSOR),
        Figure(
            case="memory of one gRPC stream",
            value=(after - before) / CLIENTS / KIB,
            unit="KiB",
            detail=f"resident, collected: {before / KIB:,.0f} → {after / KIB:,.0f} KiB",
        ),
    ]


@asynccontextmanager
async def _listening(port: int, clients: int) -> AsyncIterator[Room]:
    """Connect this many clients and yield once each has the first message."""
    loop, room = asyncio.get_running_loop(), Room(clients)
    room.expect()
    limit = asyncio.Semaphore(_AT_ONCE)

    async def connect() -> _Stream:
        async with limit:
            _, stream = await loop.create_connection(lambda: _Stream(room), "127.0.0.1", port)
            return stream

    streams = await asyncio.gather(*(connect() for _ in range(clients)))
    try:
        await room.all_have_it()
        yield room
    finally:
        for stream in streams:
            stream.transport.abort()


async def _change(served: Service, connection: Connection, room: Room, version: int) -> float:
    """Write over the version; return the seconds until all streams have the new document."""
    room.expect()
    started = time.perf_counter()
    require_good(await connection.ask(_put(served, 0, version)))
    await room.all_have_it()
    return time.perf_counter() - started


async def _events(
    served: Service, port: int, connection: Connection, progress: Progress
) -> list[list[float]]:
    """Return the seconds from a write until the official provider has its event."""
    task = progress.add_task("sync: events of a provider", total=ROUNDS * CHANGES)
    rounds: list[list[float]] = [[] for _ in range(ROUNDS)]
    versions = itertools.count(1)
    with _provider(port) as changes:
        for seconds in rounds:
            for version in itertools.islice(versions, CHANGES):
                started = time.perf_counter()
                require_good(await connection.ask(_put(served, 0, version)))
                received = await asyncio.to_thread(changes.get, timeout=_EVENT_SECONDS_MAX)
                seconds.append(received - started)
                progress.advance(task)
                await asyncio.sleep(_REST_SECONDS)
    return rounds


@contextmanager
def _provider(port: int) -> "Iterator[queue.Queue[float]]":
    """Run Python's provider, and yield the times of its changes."""
    changes: queue.Queue[float] = queue.Queue()
    provider = FlagdProvider(
        host="127.0.0.1",
        port=port,
        resolver_type=ResolverType.IN_PROCESS,
        selector="flagSetId=local",
        deadline_ms=10_000,
    )

    def on_event(_: object, event: ProviderEvent, __: object) -> None:
        if event is ProviderEvent.PROVIDER_CONFIGURATION_CHANGED:
            changes.put(time.perf_counter())

    provider.attach(on_event)
    provider.initialize(EvaluationContext())
    try:
        changes.get(timeout=_EVENT_SECONDS_MAX)
        yield changes
    finally:
        provider.shutdown()


def _put(served: Service, number: int, version: int = 0) -> bytes:
    """Return the request that writes a flag; each version has another default."""
    flag = {
        "state": "ENABLED",
        "variants": {"on": True, "off": False},
        "defaultVariant": ("off", "on")[version % 2],
        "targeting": {"if": [{"ends_with": [{"var": "email"}, "@example.org"]}, "on"]},
    }
    body = msgspec.json.encode({"kind": "flag", "value": flag})
    return served.put(f"bench/flag-{number}", body, version)
