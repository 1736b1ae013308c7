"""Event streams: each stands at a revision and is sent what came after it.

There is no queue for each client: all read the same events, at their own pace. Whoever falls behind
what is kept in memory is served from the history, and whoever is further behind than that is told
to read everything anew. A client that stops reading is let go by the connection's own limit.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress

from aiohttp import hdrs, web
from aiohttp_sse import sse_response
from prometheus_client import Metric

from app.access.guard import TOKENS, shown_token
from app.components import Component, gauges
from app.configuration.snapshots.event import place_message, resync_message
from app.configuration.snapshots.follower import Follower
from app.configuration.snapshots.reading import FOLLOWER, moment_headers, read_snapshot
from app.errors import AppError, malformed
from app.http import wire
from app.http.keys import LIFECYCLE


class OpenStreams(Component):
    """The number of open event streams, by environment."""

    name = "streams"

    def __init__(self) -> None:
        self.by_environment = Counter[str]()

    def metrics(self) -> Iterable[Metric]:
        yield gauges(
            "flagstone_streams",
            "Event streams that are open.",
            "environment",
            self.by_environment,
        )


STREAMS: web.AppKey[OpenStreams] = web.AppKey("streams", OpenStreams)

PING_SECONDS = 15
# How often a stream that has nothing to say looks whether its token still holds.
CHECK_SECONDS = 1.0
RETRY_MILLISECONDS = 2_000


async def stream_events(request: web.Request) -> web.StreamResponse:
    """Send each change set as it happens, from the revision of Last-Event-ID on."""
    query = wire.read_query(request, {"prefix", "min_revision"})
    prefix = query.get("prefix", "")
    snapshot = await read_snapshot(request, query)
    position = _position(request, snapshot.epoch)
    if position is not None and position > snapshot.revision:
        # Another instance was quicker. To send the client back would break the order.
        snapshot = await request.app[FOLLOWER].at_least(snapshot.environment.name, position)
    if request.transport is None:
        raise ConnectionResetError("the client left while it waited")
    headers = moment_headers(request, snapshot)
    if request.method == hdrs.METH_HEAD:
        # The library would refuse it, and a stream without a body would never end.
        return web.StreamResponse(headers=headers | {hdrs.CONTENT_TYPE: "text/event-stream"})
    name, follower = snapshot.environment.name, request.app[FOLLOWER]
    place = (snapshot.epoch, snapshot.revision if position is None else position)

    async with (
        sse_response(request, headers=headers, ping_interval=PING_SECONDS) as stream,
        counted(request, name),
    ):
        # With an id at once: who breaks off before the first event comes back to this place.
        if position is None:
            await stream.write(place_message(*place))
        await stream.write(f"retry: {RETRY_MILLISECONDS}\n\n".encode())
        with suppress(ConnectionResetError, AppError):
            while _goes_on(request):
                news = follower.news
                stood, (place, messages) = place, await _news(follower, name, place, prefix)
                if messages:
                    await stream.write(b"".join(messages))
                if place != stood:
                    continue  # more may have come while this was read
                with suppress(TimeoutError):
                    async with asyncio.timeout(CHECK_SECONDS):
                        await news.wait()
    return stream


@asynccontextmanager
async def counted(request: web.Request, environment: str) -> AsyncIterator[None]:
    """Count an open stream of the environment for as long as the block lasts."""
    streams = request.app[STREAMS].by_environment
    streams[environment] += 1
    try:
        yield
    finally:
        streams[environment] -= 1


async def wake_streams(app: web.Application) -> None:
    """Let every stream notice that the service is draining."""
    app[FOLLOWER].wake()


async def _news(
    follower: Follower, environment: str, place: tuple[str, int], prefix: str
) -> tuple[tuple[str, int], list[bytes]]:
    """Return the new place, and what is to be sent to get there."""
    snapshot = follower.get(environment)
    epoch, revision = place
    here = (snapshot.epoch, snapshot.revision)
    if here == place:
        return place, []
    resync = [resync_message(environment, *here)]
    oldest = snapshot.environment.first_revision - 1
    if epoch != snapshot.epoch or not oldest <= revision <= snapshot.revision:
        return here, resync
    recent = snapshot.recent
    if recent and recent[0].revision <= revision + 1:
        events = [event for event in recent if event.revision > revision]
    else:
        try:
            found = await follower.events_since(revision, snapshot.environment)
        except AppError:
            found = None
        if found is None:
            return here, resync
        events = list(found)
    wanted = (event.message_for(prefix) for event in events)
    messages = [message for message in wanted if message is not None]
    # Nothing of it was for this client; the place alone lets it come back to here.
    return here, messages or [place_message(*here)]


def _position(request: web.Request, epoch: str) -> int | None:
    """Return the revision that the client has seen, -1 when it is of another life of the data."""
    text = request.headers.get("Last-Event-ID")
    if text is None:
        return None
    seen_epoch, separator, revision = text.rpartition(":")
    if not separator or not (revision.isascii() and revision.isdecimal() and len(revision) < 19):
        raise malformed("Last-Event-ID", "must be an id that this stream has sent")
    return int(revision) if seen_epoch == epoch else -1


def _goes_on(request: web.Request) -> bool:
    """Tell whether there is still somebody to tell, and whether he may still hear it."""
    # aiohttp ends no handler whose client has gone, and a quiet stream writes nothing.
    if request.transport is None or request.app[LIFECYCLE].draining.is_set():
        return False
    try:
        request.app[TOKENS].authenticate(shown_token(request))
    except AppError:
        return False
    return True
