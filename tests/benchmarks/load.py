"""Generate load over raw sockets. A client library would add its own cost."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast

import psutil

from tests.benchmarks.connection import body_bytes
from tests.benchmarks.processes import Server

CONNECTIONS = 16


@dataclass
class Round:
    """The result of a run: seconds of each request, and the count of each status.

    `processor_seconds` is the processor time of the server's first process per request.
    """

    seconds: float = 0.0
    processor_seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    statuses: dict[int, int] = field(default_factory=dict)

    @property
    def per_second(self) -> float:
        return len(self.latencies) / self.seconds


class _Client(asyncio.Protocol):
    """A connection that sends the next request after the complete answer to the last."""

    def __init__(self, make: Callable[[], bytes], figures: Round, until: float) -> None:
        self._make = make
        self._figures = figures
        self._until = until
        self._received = b""
        self._sent_at = 0.0
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports behave like asyncio's but are not subclasses.
        self._transport = cast("asyncio.Transport", transport)
        self._send()

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, separator, body = self._received.partition(b"\r\n\r\n")
        if not separator or len(body) < body_bytes(head):
            return
        now = time.perf_counter()
        status = int(head[9:12])
        self._figures.latencies.append(now - self._sent_at)
        self._figures.statuses[status] = self._figures.statuses.get(status, 0) + 1
        self._received = b""
        if now < self._until:
            self._send()
        else:
            self._transport.close()

    def connection_lost(self, _: Exception | None) -> None:
        if not self.done.done():
            self.done.set_result(None)

    def _send(self) -> None:
        self._sent_at = time.perf_counter()
        self._transport.write(self._make())


async def send(server: Server, make: Callable[[], bytes], seconds: float) -> Round:
    """Send requests over sixteen connections for the given time."""
    figures = Round()
    process = psutil.Process(server.pid)
    before = process.cpu_times()
    loop = asyncio.get_running_loop()
    started = time.perf_counter()
    clients = []
    for _ in range(CONNECTIONS):
        _, client = await loop.create_connection(
            lambda: _Client(make, figures, started + seconds), "127.0.0.1", server.port
        )
        clients.append(client)
    await asyncio.wait_for(asyncio.gather(*(client.done for client in clients)), seconds + 30)
    figures.seconds = time.perf_counter() - started
    after = process.cpu_times()
    taken = after.user + after.system - before.user - before.system
    figures.processor_seconds = taken / len(figures.latencies)
    return figures
