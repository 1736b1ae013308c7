"""Write new messages to all idle event streams in one task.

Waking the task of each stream takes most of the time of an event. So a stream that has sent
everything waits here, and this task writes to its connection. It wakes the stream's own task only
if the stream ends, must read the history, or has a client that does not read fast enough.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterable

from aiohttp import web
from aiohttp.http_writer import StreamWriter
from aiohttp_sse import EventSourceResponse
from prometheus_client import Metric

from app.components import Component, gauges
from app.configuration.snapshots.source import SnapshotSource
from app.http.lifecycle import Lifecycle
from app.tasks import wait_at_most

# An idle stream checks at this interval whether its token is still valid.
CHECK_SECONDS = 1.0
# If this task fails, each stream checks by itself.
IDLE_SECONDS_MAX = 15.0
# The event loop serves other requests after this time.
_SLICE_SECONDS = 0.002


class OpenStream(EventSourceResponse):
    """A response with server-sent events, to which others can write without waiting."""

    def write_now(self, messages: bytes) -> bool:
        """Write the messages unless the client has not read earlier ones. Return whether it did."""
        writer = self._payload_writer
        if not isinstance(writer, StreamWriter) or not writer.chunked or writer.transport is None:
            return False
        if writer.transport.is_closing() or writer.transport.get_write_buffer_size():
            return False
        chunk = b"%x\r\n%b\r\n" % (len(messages), messages)
        writer.transport.write(chunk)
        writer.output_size += len(chunk)
        return True


class IdleStream:
    """A stream that waits for its next messages, and the messages that could not be written."""

    def __init__(
        self, request: web.Request, stream: OpenStream, next_messages: Callable[[], bytes | None]
    ) -> None:
        self._request = request
        self._stream = stream
        self._next_messages = next_messages
        self.woken: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def advance(self) -> None:
        """Write the next messages, or wake the task of the stream."""
        try:
            messages = self._next_messages() if self._request.transport is not None else None
        except Exception:  # noqa: BLE001 - the task gets the error again, and ends the stream
            messages = None
        if messages is None:
            self.wake()
        elif messages and not self._stream.write_now(messages):
            self.wake(messages)

    def wake(self, messages: bytes = b"") -> None:
        if not self.woken.done():
            self.woken.set_result(messages)


class Broadcast(Component):
    """Writes the changes to the idle streams, and counts the open ones by environment."""

    name = "streams"

    def __init__(self, follower: SnapshotSource, lifecycle: Lifecycle) -> None:
        self._follower = follower
        self._lifecycle = lifecycle
        self._idle: dict[IdleStream, None] = {}
        self.by_environment = Counter[str]()

    async def wait(self, stream: IdleStream) -> bytes:
        """Wait until the stream's own task must continue. Return messages that it must write."""
        self._idle[stream] = None
        try:
            # Not asyncio.timeout: messages that arrive together with its end would be lost.
            done, _ = await asyncio.wait([stream.woken], timeout=IDLE_SECONDS_MAX)
        finally:
            del self._idle[stream]
            stream.woken.cancel()
        return stream.woken.result() if done else b""

    async def run(self) -> None:
        """Advance all idle streams after each change and at the interval of checks."""
        while True:
            # Get the event first, so that no change during the round is missed.
            next_change = self._follower.next_change
            await self._advance_all()
            await wait_at_most(CHECK_SECONDS, next_change)

    async def _advance_all(self) -> None:
        end = time.perf_counter() + _SLICE_SECONDS
        for stream in list(self._idle):
            if self._lifecycle.draining.is_set():
                stream.wake()
            elif not stream.woken.done():
                stream.advance()
            if time.perf_counter() >= end:
                await asyncio.sleep(0)
                end = time.perf_counter() + _SLICE_SECONDS

    def metrics(self) -> Iterable[Metric]:
        yield gauges(
            "flagstone_streams",
            "Open event streams.",
            "environment",
            self.by_environment,
        )


STREAMS: web.AppKey[Broadcast] = web.AppKey("streams", Broadcast)
