"""The event stream of an environment: one event for each change set after a revision."""

from collections.abc import Sequence

from aiohttp import web

from app.access.guard import CALLER, TOKENS, permit, presented_token, readable_keys
from app.access.models import Scope
from app.configuration.snapshots.change_event import ChangeEvent, id_message, resync_message
from app.configuration.snapshots.event_stream import serve_stream
from app.configuration.snapshots.reading import FOLLOWER, read_snapshot, snapshot_headers
from app.configuration.snapshots.snapshot import Snapshot
from app.configuration.snapshots.source import SnapshotSource
from app.errors import AppError, malformed
from app.http import wire

# A position of no epoch: the client must read everything again.
_OUTDATED = ("", -1)


async def stream_events(request: web.Request) -> web.StreamResponse:
    """Stream the change sets of an environment.

    `Last-Event-ID` resumes after that event. Without it, the stream begins with the next change.
    """
    query = wire.read_query(request, {"prefix", "min_revision"})
    prefix = query.get("prefix", "")
    snapshot = await read_snapshot(request, query)
    last_revision = _last_revision(request, snapshot.epoch)
    if last_revision is not None and last_revision > snapshot.revision:
        # The client has read a later revision from another instance. It must not go back.
        await request.app[FOLLOWER].at_least(snapshot.environment.name, last_revision)
        snapshot = await read_snapshot(request, {})
    headers = snapshot_headers(request, snapshot)
    environment, keys = snapshot.environment.name, snapshot.limits
    follower, tokens, caller = request.app[FOLLOWER], request.app[TOKENS], request[CALLER]
    position = (snapshot.epoch, snapshot.revision if last_revision is None else last_revision)
    # Send an ID at once, so that a client that disconnects before the first event can resume.
    first_message = id_message(*position) if last_revision is None else b""
    token = presented_token(request)
    # An open stream must not retain the snapshot that it began with.
    del snapshot

    def messages_in_memory(snapshot: Snapshot) -> bytes | None:
        nonlocal position
        messages = _messages_in_memory(snapshot, position, prefix)
        position = position if messages is None else (snapshot.epoch, snapshot.revision)
        return messages

    def next_messages() -> bytes | None:
        nonlocal position, keys, caller
        present = tokens.authenticate(token)
        if present is not caller:
            # After a change of any token. Most often, the rights of this one are the same.
            permit(request, present, [Scope.READ], by_key=True)
            if (present_keys := readable_keys(request)) != keys:
                position, keys = _OUTDATED, present_keys
            # Not before: the next call must refuse a caller that this one has refused.
            caller = present
        snapshot = follower.get(environment)
        return messages_in_memory(snapshot.limited_to(keys)) if snapshot.has_part(keys) else None

    async def read_missed() -> bytes:
        nonlocal position
        part = await follower.part(follower.get(environment), keys)
        if (messages := messages_in_memory(part)) is not None:
            return messages
        snapshot = follower.get(environment)
        missed = await _missed_events(follower, position[1], snapshot)
        events = [event.limited_to(keys) for event in missed]
        position = (snapshot.epoch, snapshot.revision)
        return _messages(snapshot, events, prefix)

    return await serve_stream(
        request,
        environment,
        next_messages,
        headers=headers,
        first_message=first_message,
        read_missed=read_missed,
    )


async def _missed_events(
    follower: SnapshotSource, revision: int, snapshot: Snapshot
) -> Sequence[ChangeEvent]:
    """Return the events from a revision to a snapshot, none if they cannot be read."""
    try:
        return await follower.events_since(revision, snapshot.environment)
    except AppError:
        return []


def _messages_in_memory(snapshot: Snapshot, position: tuple[str, int], prefix: str) -> bytes | None:
    """Return the messages after a position, None if they must be read from the history."""
    epoch, revision = position
    if position == (snapshot.epoch, snapshot.revision):
        return b""
    oldest = snapshot.environment.first_revision - 1
    if epoch != snapshot.epoch or not oldest <= revision <= snapshot.revision:
        return _messages(snapshot, [], prefix)
    recent = snapshot.recent
    if not recent or recent[0].revision > revision + 1:
        return None
    # The recent events have no gaps.
    return _messages(snapshot, recent[revision + 1 - recent[0].revision :], prefix)


def _messages(snapshot: Snapshot, events: Sequence[ChangeEvent], prefix: str) -> bytes:
    """Return the messages that lead to a snapshot: its events, or a resync without them."""
    current = (snapshot.epoch, snapshot.revision)
    if not events:
        return resync_message(snapshot.environment.name, *current)
    messages = b"".join(filter(None, (event.message_for(prefix) for event in events)))
    # Without an event for this prefix, the id alone moves the position of the client.
    return messages or id_message(*current)


def _last_revision(request: web.Request, epoch: str) -> int | None:
    """Return the revision in Last-Event-ID. It is -1 for another epoch."""
    text = request.headers.get("Last-Event-ID")
    if text is None:
        return None
    seen_epoch, separator, revision = text.rpartition(":")
    if not separator or not (revision.isascii() and revision.isdecimal() and len(revision) < 19):
        raise malformed("Last-Event-ID", "must be an id that this stream has sent")
    return int(revision) if seen_epoch == epoch else -1
