"""Answering from a snapshot: which one, and what the answer says about its moment."""

from collections.abc import Mapping
from contextlib import suppress

from aiohttp import web

from app.configuration.snapshots.follower import Follower
from app.configuration.snapshots.snapshot import Snapshot
from app.errors import NotFound, Unavailable
from app.http import wire
from app.http.headers import header_lines, revision_header

FOLLOWER: web.AppKey[Follower] = web.AppKey("follower", Follower)

# Set where a request asked for a refresh that failed.
UNCONFIRMED: web.RequestKey[bool] = web.RequestKey("unconfirmed", bool)

FLAGSTONE_STALE = "Flagstone-Stale"
_SETTLE_SECONDS = 0.5


async def read_snapshot(request: web.Request, query: Mapping[str, str]) -> Snapshot:
    """Return the snapshot of the path's environment, at `min_revision` or later if that is asked.

    Raises NotFound, or Unavailable when this instance does not get that far within two seconds.
    """
    follower, environment = request.app[FOLLOWER], request.match_info["environment"]
    revision = wire.whole_number(query, "min_revision") if query else None
    if revision is None:
        return follower.get(environment)
    return await follower.at_least(environment, revision)


def snapshot_headers(request: web.Request, snapshot: Snapshot) -> dict[str, str]:
    """Return the headers that say which revision an answer is from, and how long unconfirmed."""
    return revision_header(snapshot.epoch, snapshot.revision) | stale_header(request)


def snapshot_head_lines(request: web.Request, snapshot: Snapshot) -> bytes:
    """Return the same as header lines."""
    stale = stale_header(request)
    return snapshot.head + header_lines(stale) if stale else snapshot.head


def stale_header(request: web.Request) -> dict[str, str]:
    """Return the header of an answer that nothing has confirmed for a while, if it is one."""
    follower = request.app[FOLLOWER]
    stale = follower.age_seconds if UNCONFIRMED in request else follower.stale_seconds
    return {FLAGSTONE_STALE: str(max(1, round(stale)))} if stale else {}


async def wait_until_served(request: web.Request, environment: str, revision: int) -> None:
    """Wait a moment until this instance serves what it has just written.

    A client that reads after its write need not ask for the revision then. It is written either
    way, so time running out is no error.
    """
    with suppress(Unavailable, NotFound):
        await request.app[FOLLOWER].at_least(environment, revision, seconds=_SETTLE_SECONDS)
