"""OFREP's event stream: it says "fetch again", and never what."""

import asyncio
import time
from contextlib import suppress

import msgspec
from aiohttp import hdrs, web
from aiohttp_sse import sse_response

from app.access.guard import turn_away
from app.errors import AppError, Unauthenticated, Unavailable
from app.http.keys import LIFECYCLE
from app.ofrep.cors import CORS
from app.ofrep.tickets import TICKETS
from app.snapshots.reading import FOLLOWER
from app.snapshots.snapshot import Snapshot
from app.snapshots.streams import CHECK_SECONDS, PING_SECONDS, RETRY_MILLISECONDS, counted

_RETRY = f"retry: {RETRY_MILLISECONDS}\n\n".encode()


class Refetch(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The data of an event; a client gives the `etag` back as `flagConfigEtag`."""

    type: str = "refetchEvaluation"
    etag: str
    last_modified: int


async def stream_refetches(request: web.Request) -> web.StreamResponse:
    """Tell a client whenever an evaluation may have another outcome than before."""
    tickets, follower = request.app[TICKETS], request.app[FOLLOWER]
    headers = request.app[CORS].headers(request)
    try:
        environment, token = tickets.open(request.match_info["ticket"])
        snapshot = follower.get(environment)
    except Unauthenticated as error:
        raise turn_away(request, error, request.match_info["ticket"]) from None
    except Unavailable:
        # A browser comes back after a stream that ends, and never after any other status.
        async with sse_response(request, headers=headers) as ended:
            await ended.write(_RETRY)
        return ended
    if request.transport is None:
        raise ConnectionResetError("the client left while it waited")
    if request.method == hdrs.METH_HEAD:
        return web.StreamResponse(headers=headers | {hdrs.CONTENT_TYPE: "text/event-stream"})
    # Who comes back to where it was needs no event; whoever else may have missed one.
    is_current = request.headers.get("Last-Event-ID") == _id(snapshot)
    told: Snapshot | None = snapshot if is_current else None

    async with (
        sse_response(request, headers=headers, ping_interval=PING_SECONDS) as stream,
        counted(request, environment),
    ):
        await stream.write(_RETRY)
        with suppress(ConnectionResetError, AppError):
            while _goes_on(request):
                tickets.holder(token.id, environment)
                news = follower.news
                snapshot = follower.get(environment)
                if told is None or _differ(told, snapshot):
                    await stream.write(_event(snapshot))
                told = snapshot
                with suppress(TimeoutError):
                    async with asyncio.timeout(CHECK_SECONDS):
                        await news.wait()
    return stream


def _goes_on(request: web.Request) -> bool:
    return request.transport is not None and not request.app[LIFECYCLE].draining.is_set()


def _differ(before: Snapshot, after: Snapshot) -> bool:
    return before.epoch != after.epoch or before.rules is not after.rules


def _id(snapshot: Snapshot) -> str:
    return f"{snapshot.epoch}:{snapshot.revision}"


def _event(snapshot: Snapshot) -> bytes:
    place = _id(snapshot)
    data = msgspec.json.encode(Refetch(etag=place, last_modified=int(time.time())))
    return b"id: %b\ndata: %b\n\n" % (place.encode(), data)
