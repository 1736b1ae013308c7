"""OFREP's event stream, which asks clients to evaluate again. It contains no values."""

import time
from typing import NamedTuple

import msgspec
from aiohttp import web
from aiohttp_sse import sse_response

from app.access.guard import refuse_credential
from app.access.models import Scope
from app.configuration.snapshots.event_stream import RETRY_MESSAGE, serve_stream
from app.configuration.snapshots.reading import FOLLOWER
from app.configuration.snapshots.snapshot import Snapshot
from app.errors import Unauthenticated, Unavailable
from app.flags.ofrep.cors import CORS
from app.flags.ofrep.tickets import TICKETS

# The delay of the event after a time rule changes an outcome: the clock of the instance that
# evaluates for the client may be behind.
TURN_DELAY_SECONDS = 1
# The interval of events when an outcome may change at any time.
TICK_SECONDS = 60


class RefetchEvent(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The data of an event. The client sends its `etag` as `flagConfigEtag`."""

    type: str = "refetchEvaluation"
    etag: str
    last_modified: int


async def stream_flag_changes(request: web.Request) -> web.StreamResponse:
    """Stream a notice when evaluations may have changed.

    The client then evaluates again. The URL is in `eventStreams` of the evaluation of every flag.
    """
    tickets, follower = request.app[TICKETS], request.app[FOLLOWER]
    headers = request.app[CORS].headers(request)
    try:
        environment, token_id = tickets.open(request.match_info["ticket"])
        snapshot = await follower.read(environment)
        caller = tickets.holder(token_id, environment)
        keys = caller.rights.keys(Scope.EVALUATE, environment)
        position = _position(await follower.part(snapshot, keys))
    except Unauthenticated as error:
        raise refuse_credential(request, error, request.match_info["ticket"]) from None
    except Unavailable:
        # Browsers reconnect after a stream that ends, but not after an error status.
        async with sse_response(request, headers=headers) as ended:
            await ended.write(RETRY_MESSAGE)
        return ended
    # A client that reconnects at the same position needs no event. Any other may have missed one.
    is_current = request.headers.get("Last-Event-ID") == position.id and not position.is_timed
    sent = position if is_current else None
    sent_at = time.monotonic()
    # An open stream must not retain the snapshot that it began with.
    del position, snapshot

    def next_messages() -> bytes | None:
        nonlocal caller, keys
        before, caller = caller, tickets.holder(token_id, environment)
        if caller is not before:
            keys = caller.rights.keys(Scope.EVALUATE, environment)
        snapshot = follower.get(environment)
        return messages_of(snapshot.limited_to(keys)) if snapshot.has_part(keys) else None

    async def make_part() -> bytes:
        return messages_of(await follower.part(follower.get(environment), keys))

    def messages_of(snapshot: Snapshot) -> bytes:
        nonlocal sent, sent_at
        position = _position(snapshot)
        is_due = position.is_timed and time.monotonic() - sent_at >= TICK_SECONDS
        is_changed = sent is None or sent.outcomes != position.outcomes or is_due
        sent = position
        if not is_changed:
            return b""
        sent_at = time.monotonic()
        event = RefetchEvent(etag=position.etag, last_modified=int(time.time()))
        return b"id: %b\ndata: %b\n\n" % (position.id.encode(), msgspec.json.encode(event))

    return await serve_stream(
        request, environment, next_messages, headers=headers, read_missed=make_part
    )


class _Position(NamedTuple):
    """The state on which outcomes of own flags depend, apart from contexts.

    `turn` is the latest time at which a time rule may have changed an outcome, or 0. `is_timed`:
    one may change at any time.
    """

    epoch: str
    revision: int
    rules_digest: int
    turn: int
    is_timed: bool

    @property
    def outcomes(self) -> tuple[str, int, int]:
        """What is equal while no outcome changes. A changed setting is a new revision alone."""
        return self.epoch, self.rules_digest, self.turn

    @property
    def etag(self) -> str:
        return f"{self.epoch}:{self.revision}"

    @property
    def id(self) -> str:
        return f"{self.etag}:{self.turn}" if self.turn else self.etag


def _position(snapshot: Snapshot) -> _Position:
    rules = snapshot.rules
    turn = rules.transitions.latest(time.time() - TURN_DELAY_SECONDS)
    is_timed = not rules.transitions.is_known
    return _Position(snapshot.epoch, snapshot.revision, rules.outcomes_digest, turn, is_timed)
