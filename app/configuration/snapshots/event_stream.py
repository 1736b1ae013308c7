"""Server-sent events: the loop that all event streams share.

No client has a queue. Each stream compares its position with the current snapshot and sends the
difference. The send timeout of the connection ends the stream of a client that stops reading.
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress

from aiohttp import hdrs, web
from aiohttp_sse import sse_response
from prometheus_client import Metric

from app.components import Component, gauges
from app.configuration.snapshots.reading import FOLLOWER
from app.errors import AppError
from app.http.keys import LIFECYCLE
from app.tasks import wait_at_most

PING_SECONDS = 15
# An idle stream checks at this interval whether its token is still valid.
CHECK_SECONDS = 1.0
RETRY_MESSAGE = b"retry: 2000\n\n"


class OpenStreams(Component):
    """The number of open event streams, by environment."""

    name = "streams"

    def __init__(self) -> None:
        self.by_environment = Counter[str]()

    def metrics(self) -> Iterable[Metric]:
        yield gauges(
            "flagstone_streams",
            "Open event streams.",
            "environment",
            self.by_environment,
        )


STREAMS: web.AppKey[OpenStreams] = web.AppKey("streams", OpenStreams)


async def serve_stream(
    request: web.Request,
    environment: str,
    next_messages: Callable[[], Awaitable[bytes]],
    *,
    headers: Mapping[str, str],
    first_message: bytes = b"",
) -> web.StreamResponse:
    """Send messages until the client leaves, the service stops or `next_messages` raises AppError.

    `next_messages` returns the messages after the last ones, or nothing. It is called again after
    each change, and each second: it must check the caller's token.
    """
    if not _is_connected(request):
        raise ConnectionResetError("the client left before the stream began")
    if request.method == hdrs.METH_HEAD:
        # sse_response refuses HEAD, and a stream without a body would never end.
        return web.StreamResponse(headers={**headers, hdrs.CONTENT_TYPE: "text/event-stream"})
    follower, lifecycle = request.app[FOLLOWER], request.app[LIFECYCLE]
    streams = request.app[STREAMS].by_environment
    async with sse_response(request, headers=headers, ping_interval=PING_SECONDS) as stream:
        streams[environment] += 1
        try:
            await stream.write(first_message + RETRY_MESSAGE)
            with suppress(ConnectionResetError, AppError):
                while _is_connected(request) and not lifecycle.draining.is_set():
                    # Get the event first, so that no change during `next_messages` is missed.
                    next_change = follower.next_change
                    if messages := await next_messages():
                        await stream.write(messages)
                        continue
                    await wait_at_most(CHECK_SECONDS, next_change)
        finally:
            streams[environment] -= 1
    return stream


def _is_connected(request: web.Request) -> bool:
    """Return whether the client is connected: aiohttp does not cancel the handler otherwise."""
    return request.transport is not None


async def wake_streams(app: web.Application) -> None:
    """Wake every stream, so that it ends when the service is draining."""
    app[FOLLOWER].wake()
