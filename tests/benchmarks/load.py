"""Generate load over raw sockets. A client library would add its own cost."""

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast

from tests.benchmarks.connection import body_bytes
from tests.benchmarks.processes import Server
from tests.benchmarks.processor import ProcessorTime

CONNECTIONS = 32
_HEAD_END = b"\r\n\r\n"


@dataclass
class Round:
    """The result of a run: seconds of each request, and the processor time of all of them."""

    seconds: float = 0.0
    processor: ProcessorTime = field(default_factory=lambda: ProcessorTime(service=0, database=0))
    load_seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    statuses: set[int] = field(default_factory=set)

    @property
    def per_second(self) -> float:
        return len(self.latencies) / self.seconds


class _Client(asyncio.Protocol):
    """A connection that sends the next request after the complete answer to the last.

    With an interval, a request is due an interval after the last one was. Its latency begins when
    it is due: a late answer also delays the requests after it.
    """

    def __init__(
        self, make: Callable[[], bytes], round_: Round, until: float, interval: float
    ) -> None:
        self._make = make
        self._round = round_
        self._until = until
        self._interval = interval
        self._head = b""
        self._missing = 0
        self._started = 0.0
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports behave like asyncio's but are not subclasses.
        self._transport = cast("asyncio.Transport", transport)
        self._due = time.perf_counter() + random.random() * self._interval  # noqa: S311
        self._send_when_due()

    def data_received(self, data: bytes) -> None:
        if self._missing:
            self._missing -= len(data)
        else:
            self._head += data
            end = self._head.find(_HEAD_END)
            if end < 0:
                return
            arrived = len(self._head) - end - len(_HEAD_END)
            self._missing = body_bytes(self._head[:end]) - arrived
        if not self._missing:
            self._finish(time.perf_counter())

    def connection_lost(self, _: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(RuntimeError("the server closed a connection"))

    def _finish(self, now: float) -> None:
        self._round.latencies.append(now - self._started)
        self._round.statuses.add(int(self._head[9:12]))
        self._head = b""
        if now < self._until:
            self._due += self._interval
            self._send_when_due()
        else:
            self.done.set_result(None)
            self._transport.close()

    def _send_when_due(self) -> None:
        """Send now, or later. A timer that fires late does not count as latency."""
        now = time.perf_counter()
        if not self._interval:
            self._send(now)
        elif self._due <= now:
            self._send(self._due)
        else:
            loop = asyncio.get_running_loop()
            loop.call_later(self._due - now, lambda: self._send(time.perf_counter()))

    def _send(self, started: float) -> None:
        self._started = started
        self._transport.write(self._make())


async def send(
    server: Server,
    make: Callable[[], bytes],
    seconds: float,
    connections: int = CONNECTIONS,
    per_second: int | None = None,
) -> Round:
    """Send requests over these connections, at this rate or as fast as the answers arrive."""
    interval = connections / per_second if per_second else 0.0
    round_ = Round()
    loop = asyncio.get_running_loop()
    before = server.processor_time()
    started, load_started = time.perf_counter(), time.process_time()
    clients = []
    for _ in range(connections):
        _, client = await loop.create_connection(
            lambda: _Client(make, round_, started + seconds, interval), "127.0.0.1", server.port
        )
        clients.append(client)
    async with asyncio.timeout(seconds + 30):
        await asyncio.gather(*(client.done for client in clients))
    round_.seconds = time.perf_counter() - started
    round_.load_seconds = time.process_time() - load_started
    round_.processor = server.processor_time().since(before)
    return round_
