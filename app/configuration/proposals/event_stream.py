"""The event stream of proposals: one event for each thing that happens to one of them.

IDs of events have the order of their commits, so a stream that continues after an ID misses none.
"""

import msgspec
from aiohttp import web

from app.access.actors import actor_names
from app.access.guard import CALLER, TOKENS, permit, presented_token
from app.access.models import Scope
from app.access.permissions import Rights
from app.configuration.proposals.parts import readable_prefixes
from app.configuration.proposals.states import ProposalState
from app.configuration.proposals.views import ProposalEventData
from app.configuration.proposals.watch import WATCH
from app.configuration.snapshots.event_stream import serve_stream
from app.database import sql
from app.errors import AppError, malformed
from app.http import wire
from app.http.keys import DATABASE

_PAGE = 100
# The label of the metric of open streams. No environment has this name.
_LABEL = "*"
# The part of an ID before its number.
_ID = "proposals"


async def stream_proposal_events(request: web.Request) -> web.StreamResponse:
    """Stream the events of proposals.

    Only those of the token's keys. `Last-Event-ID` resumes after that event. Without it,
    the stream begins with the next event.
    """
    wire.read_query(request, set())
    watch, tokens, token = request.app[WATCH], request.app[TOKENS], presented_token(request)
    last_id = _last_id(request)
    # A restored backup has fewer events than the client may have seen.
    position = watch.latest_event if last_id is None else min(last_id, watch.latest_event)
    # Send an ID at once, so that a client that disconnects before the first event can resume.
    first_message = b"id: proposals:%d\n\n" % position if last_id is None else b""
    rights = request[CALLER].rights

    def next_messages() -> bytes | None:
        nonlocal rights
        caller = tokens.authenticate(token)
        permit(request, caller, [Scope.READ], by_key=True)
        rights = caller.rights
        return None if watch.latest_event > position else b""

    async def read_missed() -> bytes:
        nonlocal position
        messages = b""
        while watch.latest_event > position and len(messages) < _PAGE * 1024:
            latest = watch.latest_event
            try:
                events = await _events_after(request, position, rights)
            except AppError:
                # The database is away: the stream goes on when it is back.
                return messages
            read = events[-1].id if events else 0
            position = read if len(events) == _PAGE else max(read, latest)
            messages += b"".join(map(_message, events))
        return messages

    return await serve_stream(
        request,
        _LABEL,
        next_messages,
        headers={},
        first_message=first_message,
        read_missed=read_missed,
    )


async def _events_after(
    request: web.Request, after: int, rights: Rights
) -> list[ProposalEventData]:
    own_environments, own_prefixes = readable_prefixes(rights)
    async with request.app[DATABASE].connection() as connection:
        listed = sql.list_proposal_events_after(
            connection,
            after=after,
            own_environments=own_environments,
            own_prefixes=own_prefixes,
            page_size=_PAGE,
        )
        rows = [row async for row in listed]
        names = await actor_names(connection, [row["actor"] for row in rows])
        return [
            ProposalEventData(
                id=row["id"],
                proposal=row["proposal_id"],
                event=row["event"],
                version=row["version"],
                actor=row["actor"],
                actor_name=names[row["actor"]],
                environments=row["environments"],
                at=row["at"],
                title=row["title"],
                state=ProposalState(row["state"]),
            )
            for row in rows
        ]


def _message(event: ProposalEventData) -> bytes:
    data = msgspec.json.encode(event)
    return b"id: proposals:%d\nevent: proposal\ndata: %b\n\n" % (event.id, data)


def _last_id(request: web.Request) -> int | None:
    text = request.headers.get("Last-Event-ID")
    if text is None:
        return None
    name, separator, number = text.rpartition(":")
    if not separator or not (number.isascii() and number.isdecimal() and len(number) < 19):
        raise malformed("Last-Event-ID", "must be an id that this stream has sent")
    return int(number) if name == _ID else None
