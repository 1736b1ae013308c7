"""Server-sent events: the loop that all event streams share.

No client has a queue. Each stream compares its position with the current snapshot and sends the
difference. The send timeout of the connection ends the stream of a client that stops reading.
"""

from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress

from aiohttp import hdrs, web
from aiohttp_sse import sse_response

from app.configuration.snapshots.broadcast import STREAMS, IdleStream, OpenStream
from app.configuration.snapshots.reading import FOLLOWER
from app.errors import AppError
from app.http.keys import LIFECYCLE

PING_SECONDS = 15
RETRY_MESSAGE = b"retry: 2000\n\n"


async def _nothing() -> bytes:
    return b""


async def serve_stream(
    request: web.Request,
    environment: str,
    next_messages: Callable[[], bytes | None],
    *,
    headers: Mapping[str, str],
    first_message: bytes = b"",
    read_missed: Callable[[], Awaitable[bytes]] = _nothing,
) -> web.StreamResponse:
    """Send messages until the client leaves, the service stops or `next_messages` raises AppError.

    `next_messages` returns the messages after the last ones, or nothing, or None if `read_missed`
    must wait for them, as for the database. It is called again after each change, and each second:
    it must check the caller's token.
    """
    if not _is_connected(request):
        raise ConnectionResetError("the client left before the stream began")
    if request.method == hdrs.METH_HEAD:
        # sse_response refuses HEAD, and a stream without a body would never end.
        return web.StreamResponse(headers={**headers, hdrs.CONTENT_TYPE: "text/event-stream"})
    lifecycle, broadcast = request.app[LIFECYCLE], request.app[STREAMS]
    async with sse_response(
        request, headers=headers, ping_interval=PING_SECONDS, response_cls=OpenStream
    ) as stream:
        broadcast.by_environment[environment] += 1
        try:
            await stream.write(first_message + RETRY_MESSAGE)
            with suppress(ConnectionResetError, AppError):
                while _is_connected(request) and not lifecycle.draining.is_set():
                    messages = next_messages()
                    if messages is None:
                        messages = await read_missed()
                    if not messages:
                        # No await in between, so that no change is missed.
                        idle = IdleStream(request, stream, next_messages)
                        messages = await broadcast.wait(idle)
                    await stream.write(messages)
        finally:
            broadcast.by_environment[environment] -= 1
    return stream


def _is_connected(request: web.Request) -> bool:
    """Return whether the client is connected: aiohttp does not cancel the handler otherwise."""
    return request.transport is not None


async def wake_streams(app: web.Application) -> None:
    """Wake every stream, so that it ends when the service is draining."""
    app[FOLLOWER].wake()
