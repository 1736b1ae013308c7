"""Lists between an upstream and its relays: hashes, or the changes of a list that the relay has."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import msgspec
from aiohttp import hdrs, web

from app.access.guard import CALLER
from app.access.models import Scope
from app.configuration.snapshots.source import SnapshotSource
from app.errors import NotFound
from app.evaluation.lists import (
    HashedList,
    ListContent,
    ListReference,
    changes_of,
    list_reference,
    loaded_bases,
    loaded_list,
    loaded_of_base,
    register,
)
from app.http import wire
from app.relay import protocol
from app.relay.client import UpstreamClient, unfit
from app.threads import in_thread

_PORTION_BYTES = 256 * 1024
# The line of a request has at most 8,190 bytes, and a base 64. Other lists are sent whole.
_BASES_MAX = 100

# Reads the lists that values of segments name, and returns them to hold.
LoadLists = Callable[[Iterable[Any]], Any]


async def send_list(request: web.Request, source: SnapshotSource) -> web.StreamResponse:
    """Send a list that an environment of the relay uses."""
    query = wire.read_query(request, {"bases"})
    list_ = _used(request, source)
    has_base = list_.base in query.get("bases", "").split(",")
    content = list_.changes_alone if has_base else await in_thread("list", lambda: list_.content)
    raw = await in_thread("list", partial(msgspec.msgpack.encode, content))
    response = web.StreamResponse(headers={hdrs.CONTENT_TYPE: protocol.MSGPACK})
    await response.prepare(request)
    for start in range(0, len(raw), _PORTION_BYTES):
        await response.write(raw[start : start + _PORTION_BYTES])
    await response.write_eof()
    return response


def _used(request: web.Request, source: SnapshotSource) -> HashedList:
    digest, rights = request.match_info["digest"], request[CALLER].rights
    for name, snapshot in source.loaded().items():
        if rights.covers_all(Scope.RELAY, name):
            for list_ in snapshot.rules.lists:
                if list_.reference.digest == digest:
                    return list_
    raise NotFound("list_unknown", "No environment of the token uses this list.")


async def load_lists(client: UpstreamClient, values: Iterable[Any]) -> list[HashedList]:
    """Return the lists that the values of segments name. Raises Unavailable."""
    lists = []
    for value in values:
        reference = list_reference(value)
        if reference is not None:
            list_ = loaded_list(reference.digest)
            lists.append(list_ or await _received(client, reference))
    return lists


async def _received(client: UpstreamClient, reference: ListReference) -> HashedList:
    raw = await client.list(reference.digest, loaded_bases(_BASES_MAX))

    def read() -> HashedList | None:
        content = msgspec.msgpack.decode(raw, type=ListContent)
        held = loaded_of_base(content.base)
        if held is not None:
            return held.with_changes(reference, changes_of(content))
        is_whole = bool(content.lasting or content.expiring or reference.count == 0)
        return HashedList(reference, content) if is_whole else None

    try:
        list_ = await in_thread("load list", read)
    except (msgspec.MsgspecError, ValueError):
        raise unfit("sends a list that this release cannot read") from None
    if list_ is None:
        raise unfit("sent changes of a list that this relay does not have")
    return register(list_)
