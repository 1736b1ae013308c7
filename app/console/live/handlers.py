"""The stream of changes for an open page. It has names and times, but no values."""

from datetime import UTC, datetime

import msgspec
from aiohttp import web

from app.access.guard import permit, readable_keys
from app.access.models import Scope
from app.access.sessions.guard import authenticate
from app.configuration.snapshots.event_stream import serve_stream
from app.configuration.snapshots.reading import FOLLOWER, load_snapshot, own_snapshot
from app.configuration.snapshots.snapshot import Snapshot
from app.console.actors import current_name
from app.errors import Unauthenticated
from app.http import wire

# A page compares its own key with these. With more, it shows every change.
_KEYS_MAX = 500


class PageChange(msgspec.Struct, frozen=True, kw_only=True):
    """The change sets after a page was read. `is_cut`: `keys` has not all of their keys."""

    revision: int
    actor: str
    message: str
    created_at: datetime
    keys: list[str]
    is_cut: bool


async def stream_page_changes(request: web.Request) -> web.StreamResponse:
    """Stream the changes after the revision `after`, for the page that shows this revision."""
    environment = request.match_info["environment"]
    after = wire.whole_number(request.query, "after")
    snapshot = own_snapshot(request, environment)
    seen = (snapshot.epoch, snapshot.revision if after is None else after)
    # An open stream must not retain the snapshot that it began with.
    del snapshot
    is_over = False
    follower = request.app[FOLLOWER]

    def next_messages() -> bytes | None:
        nonlocal is_over
        try:
            permit(request, authenticate(request, is_visit=False), [Scope.READ], by_key=True)
        except Unauthenticated:
            if is_over:
                raise
            is_over = True
            return b"id: \nevent: ended\ndata: {}\n\n"
        if not follower.get(environment).has_part(readable_keys(request)):
            return None
        return messages_of(own_snapshot(request, environment))

    async def make_part() -> bytes:
        return messages_of(await load_snapshot(request, environment))

    def messages_of(snapshot: Snapshot) -> bytes:
        nonlocal seen
        epoch, revision = seen
        seen = (snapshot.epoch, snapshot.revision)
        if seen == (epoch, revision):
            return b""
        change = _change(request, snapshot, revision if epoch == snapshot.epoch else -1)
        if change is None:
            return b""
        head = f"id: {change.revision}\nevent: change\ndata: ".encode()
        return head + msgspec.json.encode(change) + b"\n\n"

    return await serve_stream(
        request, environment, next_messages, headers={}, read_missed=make_part
    )


def _change(request: web.Request, snapshot: Snapshot, after: int) -> PageChange | None:
    """Return the changes after a revision, None if the caller may know nothing of them."""
    every = [event for event in snapshot.recent if event.revision > after]
    events = [event.data for event in every if not event.is_foreign]
    if every and not events and len(every) == snapshot.revision - after:
        return None
    keys = sorted({key for event in events for key in event.keys})
    is_complete = len(every) == snapshot.revision - after and len(keys) <= _KEYS_MAX
    last = events[-1] if events else None
    return PageChange(
        revision=snapshot.revision,
        actor=current_name(request, last.actor) if last is not None else "another process",
        message=last.message if last is not None else "",
        created_at=last.created_at if last is not None else datetime.now(UTC),
        keys=keys[:_KEYS_MAX],
        is_cut=not is_complete,
    )
