"""OFREP's event stream: it says "fetch again", and never what."""

import asyncio
import time
from contextlib import suppress
from typing import NamedTuple

import msgspec
from aiohttp import hdrs, web
from aiohttp_sse import sse_response

from app.access.guard import turn_away
from app.configuration.snapshots.reading import FOLLOWER
from app.configuration.snapshots.snapshot import Snapshot
from app.configuration.snapshots.streams import (
    CHECK_SECONDS,
    PING_SECONDS,
    RETRY_MILLISECONDS,
    counted,
)
from app.errors import AppError, Unauthenticated, Unavailable
from app.evaluation.ruleset import Ruleset
from app.flags.ofrep.cors import CORS
from app.flags.ofrep.tickets import TICKETS
from app.http.keys import LIFECYCLE

# How long after a flag has turned its streams say so: the instance that answers the client may have
# a clock that is a little behind.
TURN_DELAY_SECONDS = 1
# How often streams ask for a new fetch when a flag may turn at any time.
TICK_SECONDS = 60

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
    # A client that comes back to the same place needs no event; any other may have missed one.
    place = _place(snapshot)
    is_current = request.headers.get("Last-Event-ID") == place.id and snapshot.rules.turns.is_known
    told = place if is_current else None
    told_at = time.monotonic()

    async with (
        sse_response(request, headers=headers, ping_interval=PING_SECONDS) as stream,
        counted(request, environment),
    ):
        await stream.write(_RETRY)
        with suppress(ConnectionResetError, AppError):
            while _goes_on(request):
                tickets.holder(token.id, environment)
                news = follower.news
                place = _place(follower.get(environment))
                seconds = time.monotonic() - told_at
                is_due = not place.rules.turns.is_known and seconds >= TICK_SECONDS
                if told is None or _differ(told, place) or is_due:
                    await stream.write(_event(place))
                    told_at = time.monotonic()
                told = place
                with suppress(TimeoutError):
                    async with asyncio.timeout(CHECK_SECONDS):
                        await news.wait()
    return stream


def _goes_on(request: web.Request) -> bool:
    return request.transport is not None and not request.app[LIFECYCLE].draining.is_set()


class _Place(NamedTuple):
    """What the outcomes of flags depend on, apart from contexts and from unknown instants.

    `turn` is the latest instant at which an outcome may have changed by itself, 0 without one.
    """

    epoch: str
    revision: int
    rules: Ruleset
    turn: int

    @property
    def etag(self) -> str:
        return f"{self.epoch}:{self.revision}"

    @property
    def id(self) -> str:
        return f"{self.etag}:{self.turn}" if self.turn else self.etag


def _place(snapshot: Snapshot) -> _Place:
    turn = snapshot.rules.turns.latest(time.time() - TURN_DELAY_SECONDS)
    return _Place(snapshot.epoch, snapshot.revision, snapshot.rules, turn)


def _differ(before: _Place, after: _Place) -> bool:
    """Tell whether outcomes may differ. Settings change the revision, and never an outcome."""
    return (
        before.epoch != after.epoch or before.rules is not after.rules or before.turn != after.turn
    )


def _event(place: _Place) -> bytes:
    data = msgspec.json.encode(Refetch(etag=place.etag, last_modified=int(time.time())))
    return b"id: %b\ndata: %b\n\n" % (place.id.encode(), data)
