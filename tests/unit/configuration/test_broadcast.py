"""Messages are written to an idle stream at once, but never to a client that does not read."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from app.configuration.snapshots import broadcast
from app.configuration.snapshots.broadcast import Broadcast, IdleStream, OpenStream
from app.configuration.snapshots.follower import Follower
from app.database import Database
from app.errors import NotFound
from app.http.lifecycle import Lifecycle
from app.settings import load
from tests.waiting import HANG_SECONDS, until

MESSAGE = b"data: " + b"x" * 60_000 + b"\n\n"
# More than the buffers of a connection on 127.0.0.1.
MESSAGES_MAX = 2_000


class Exchange:
    """A stream, its request, and the client's side of its connection."""

    def __init__(self) -> None:
        self.begun: asyncio.Future[tuple[web.Request, OpenStream]] = asyncio.Future()
        self.is_over = asyncio.Event()
        self.reader: asyncio.StreamReader
        self.writer: asyncio.StreamWriter

    async def handle(self, request: web.Request) -> web.StreamResponse:
        stream = OpenStream()
        await stream.prepare(request)
        async with stream:
            await stream.write(b"data: first\n\n")
            self.begun.set_result((request, stream))
            await self.is_over.wait()
        return stream

    async def read_events(self) -> list[bytes]:
        """Return the events up to the end of the response, without its head."""
        self.is_over.set()
        events = []
        await self.reader.readuntil(b"\r\n\r\n")
        while size := int(await self.reader.readline(), 16):
            events.append(await self.reader.readexactly(size))
            assert await self.reader.readexactly(2) == b"\r\n"
        return events


@asynccontextmanager
async def exchange(version: str = "1.1") -> AsyncIterator[Exchange]:
    app, opened = web.Application(), Exchange()
    app.router.add_get("/", opened.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        port = runner.addresses[0][1]
        # With this limit the reader soon stops to read from the socket.
        opened.reader, opened.writer = await asyncio.open_connection("127.0.0.1", port, limit=65536)
        opened.writer.write(f"GET / HTTP/{version}\r\nHost: x\r\n\r\n".encode())
        yield opened
    finally:
        opened.is_over.set()
        opened.writer.close()
        await runner.cleanup()


async def test_message_is_written_as_one_chunk() -> None:
    async with asyncio.timeout(HANG_SECONDS), exchange() as opened:
        _, stream = await opened.begun

        written = stream.write_now(MESSAGE)

        assert written
        assert await opened.read_events() == [b"data: first\n\n", MESSAGE]


async def test_client_that_does_not_read_is_not_written_to() -> None:
    async with asyncio.timeout(HANG_SECONDS), exchange() as opened:
        _, stream = await opened.begun
        count = 0
        while count < MESSAGES_MAX and stream.write_now(MESSAGE):
            count += 1

        refused = not stream.write_now(MESSAGE)

        assert (0 < count < MESSAGES_MAX, refused) == (True, True)
        # The stream's own task can still write, and nothing is lost or repeated.
        waiting = asyncio.create_task(stream.write(b"data: last\n\n"))
        events = await opened.read_events()
        await waiting
        assert events == [b"data: first\n\n", *[MESSAGE] * count, b"data: last\n\n"]


async def test_response_without_chunks_is_not_written_to() -> None:
    async with asyncio.timeout(HANG_SECONDS), exchange("1.0") as opened:
        _, stream = await opened.begun

        assert not stream.write_now(MESSAGE)


@pytest.mark.parametrize("outcome", ["refused", "history", "gone", "slow"])
async def test_idle_stream_wakes_its_task_when_it_cannot_go_on(outcome: str) -> None:
    def next_messages() -> bytes | None:
        if outcome == "refused":
            raise NotFound("environment_unknown", "There is no such environment.")
        return None if outcome == "history" else MESSAGE

    async def is_gone() -> bool:
        return request.transport is None

    async with asyncio.timeout(HANG_SECONDS), exchange() as opened:
        request, stream = await opened.begun
        if outcome == "gone":
            opened.writer.transport.abort()
            await until(is_gone)
        if outcome == "slow":
            while stream.write_now(MESSAGE):
                pass
        idle = IdleStream(request, stream, next_messages)

        idle.advance()

        assert await idle.woken == (MESSAGE if outcome == "slow" else b"")


async def test_idle_stream_with_a_reading_client_stays_idle() -> None:
    async with asyncio.timeout(HANG_SECONDS), exchange() as opened:
        request, stream = await opened.begun
        left = [b"data: 1\n\n", b"", b"data: 2\n\n"]
        idle = IdleStream(request, stream, lambda: left.pop(0))

        for _ in range(3):
            idle.advance()
            await asyncio.sleep(0)

        assert not idle.woken.done()
        assert await opened.read_events() == [b"data: first\n\n", b"data: 1\n\n", b"data: 2\n\n"]


@pytest.mark.parametrize("turns", range(4))
async def test_messages_at_the_end_of_the_wait_are_not_lost(
    monkeypatch: pytest.MonkeyPatch, turns: int
) -> None:
    monkeypatch.setattr(broadcast, "IDLE_SECONDS_MAX", 0)
    streams = Broadcast(Follower(Database(load({}).database)), Lifecycle())
    async with asyncio.timeout(HANG_SECONDS), exchange() as opened:
        idle = IdleStream(*await opened.begun, lambda: b"")
        waiting = asyncio.create_task(streams.wait(idle))
        for _ in range(turns):
            await asyncio.sleep(0)
        is_waiting = not idle.woken.done()

        idle.wake(MESSAGE)

        assert await waiting == (MESSAGE if is_waiting else b"")
