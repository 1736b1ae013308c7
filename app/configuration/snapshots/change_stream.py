"""The event stream of an environment: one event for each change set after a revision."""

from aiohttp import web

from app.access.guard import TOKENS, presented_token
from app.configuration.snapshots.change_event import id_message, resync_message
from app.configuration.snapshots.event_stream import serve_stream
from app.configuration.snapshots.follower import Follower
from app.configuration.snapshots.reading import FOLLOWER, read_snapshot, snapshot_headers
from app.errors import AppError, malformed
from app.http import wire


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
        snapshot = await request.app[FOLLOWER].at_least(snapshot.environment.name, last_revision)
    headers = snapshot_headers(request, snapshot)
    environment, follower = snapshot.environment.name, request.app[FOLLOWER]
    position = (snapshot.epoch, snapshot.revision if last_revision is None else last_revision)
    # Send an ID at once, so that a client that disconnects before the first event can resume.
    first_message = id_message(*position) if last_revision is None else b""
    # An open stream must not retain the snapshot that it began with.
    del snapshot

    async def next_messages() -> bytes:
        nonlocal position
        request.app[TOKENS].authenticate(presented_token(request))
        position, messages = await _messages_after(follower, environment, position, prefix)
        return messages

    return await serve_stream(
        request, environment, next_messages, headers=headers, first_message=first_message
    )


async def _messages_after(
    follower: Follower, environment: str, position: tuple[str, int], prefix: str
) -> tuple[tuple[str, int], bytes]:
    """Return the new position, and the messages that lead to it."""
    snapshot = follower.get(environment)
    epoch, revision = position
    current = (snapshot.epoch, snapshot.revision)
    if current == position:
        return position, b""
    resync = resync_message(environment, *current)
    oldest = snapshot.environment.first_revision - 1
    if epoch != snapshot.epoch or not oldest <= revision <= snapshot.revision:
        return current, resync
    recent = snapshot.recent
    if recent and recent[0].revision <= revision + 1:
        events = [event for event in recent if event.revision > revision]
    else:
        try:
            events = list(await follower.events_since(revision, snapshot.environment))
        except AppError:
            events = []
        if not events:
            return current, resync
    messages = b"".join(filter(None, (event.message_for(prefix) for event in events)))
    # Without an event for this prefix, the id alone moves the position of the client.
    return current, messages or id_message(*current)


def _last_revision(request: web.Request, epoch: str) -> int | None:
    """Return the revision in Last-Event-ID. It is -1 for another epoch."""
    text = request.headers.get("Last-Event-ID")
    if text is None:
        return None
    seen_epoch, separator, revision = text.rpartition(":")
    if not separator or not (revision.isascii() and revision.isdecimal() and len(revision) < 19):
        raise malformed("Last-Event-ID", "must be an id that this stream has sent")
    return int(revision) if seen_epoch == epoch else -1
