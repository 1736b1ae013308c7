"""Find the snapshot for a request, and the headers that name its revision and age.

Every answer comes from these functions, not from the follower: a snapshot of theirs has only the
keys that the caller has rights for.
"""

from collections.abc import Mapping
from contextlib import suppress

from aiohttp import web

from app.access.guard import CALLER, readable_keys
from app.configuration.snapshots.snapshot import Snapshot
from app.configuration.snapshots.source import SnapshotSource
from app.errors import NotFound, Unavailable
from app.http import wire
from app.http.headers import header_lines, revision_header
from app.http.keys import Handler

FOLLOWER: web.AppKey[SnapshotSource] = web.AppKey("follower", SnapshotSource)

# Set when the request asked for a refresh that failed.
UNCONFIRMED: web.RequestKey[bool] = web.RequestKey("unconfirmed", bool)

FLAGSTONE_STALE = "Flagstone-Stale"
SERVED_SECONDS = 0.5


async def read_snapshot(request: web.Request, query: Mapping[str, str]) -> Snapshot:
    """Return the snapshot at `min_revision` or later. Raises NotFound, Unavailable after 2 s."""
    follower, environment = request.app[FOLLOWER], request.match_info["environment"]
    revision = wire.whole_number(query, "min_revision") if query else None
    snapshot = await (
        follower.read(environment) if revision is None else follower.at_least(environment, revision)
    )
    if not request[CALLER].rights.have_prefixes:
        return snapshot
    return await follower.part(snapshot, readable_keys(request))


async def load_snapshot(request: web.Request, environment: str) -> Snapshot:
    """Return the snapshot of any environment, and load it. Raises NotFound and Unavailable."""
    follower = request.app[FOLLOWER]
    return await follower.part(
        await follower.read(environment), readable_keys(request, environment)
    )


def peek_snapshot(request: web.Request) -> Snapshot | None:
    """Return the snapshot in memory, None if it must be made. Raises NotFound, Unavailable."""
    snapshot = request.app[FOLLOWER].peek(request.match_info["environment"])
    if snapshot is None or not request[CALLER].rights.have_prefixes:
        return snapshot
    keys = readable_keys(request)
    return snapshot.limited_to(keys) if snapshot.has_part(keys) else None


def own_snapshot(request: web.Request, environment: str) -> Snapshot:
    """Return the snapshot in memory, which `with_snapshot` has made ready.

    Raises NotFound, and Unavailable if it must be loaded.
    """
    return request.app[FOLLOWER].get(environment).limited_to(readable_keys(request, environment))


async def loaded_snapshot(request: web.Request, environment: str) -> Snapshot | None:
    """Return the snapshot if it is in memory, for a page about several environments."""
    follower = request.app[FOLLOWER]
    snapshot = follower.loaded().get(environment)
    if snapshot is None:
        return None
    return await follower.part(snapshot, readable_keys(request, environment))


def with_snapshot(handler: Handler) -> Handler:
    """Return the handler with the caller's part of the path's environment, if it exists."""

    async def load_first(request: web.Request) -> web.StreamResponse:
        with suppress(NotFound):
            await load_snapshot(request, request.match_info["environment"])
        return await handler(request)

    return load_first


def snapshot_headers(request: web.Request, snapshot: Snapshot) -> dict[str, str]:
    """Return the headers with the revision of the snapshot, and its age if it is stale."""
    stale = stale_header(request, snapshot.environment.name)
    return revision_header(snapshot.epoch, snapshot.revision) | stale


def snapshot_head_lines(request: web.Request, snapshot: Snapshot) -> bytes:
    stale = stale_header(request, snapshot.environment.name)
    return snapshot.head + header_lines(stale) if stale else snapshot.head


def stale_header(request: web.Request, environment: str = "") -> dict[str, str]:
    """Return the header with the age of a stale answer, or no header."""
    follower = request.app[FOLLOWER]
    stale = follower.stale_seconds_of(environment)
    if UNCONFIRMED in request:
        stale = max(stale, follower.age_seconds)
    return {FLAGSTONE_STALE: str(max(1, round(stale)))} if stale else {}


async def wait_until_served(request: web.Request, environment: str, revision: int) -> None:
    """Wait up to 0.5 s until this instance serves a write, its own or that of another instance.

    Then a client that reads after its write needs no `min_revision`. The write is committed, so a
    timeout is no error. An environment that is not in memory is read from the database then.
    """
    follower = request.app[FOLLOWER]
    if follower.is_cold(environment):
        return
    with suppress(Unavailable, NotFound):
        await follower.at_least(environment, revision, seconds=SERVED_SECONDS)
