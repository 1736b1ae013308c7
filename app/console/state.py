"""The environment that a page shows: now, or as of a moment in the past."""

from dataclasses import dataclass
from functools import partial

from aiohttp import web

from app.configuration.changes.history import Moment, environment_at
from app.configuration.entries import service as entries
from app.configuration.snapshots.reading import FOLLOWER
from app.configuration.snapshots.snapshot import Configuration, Snapshot, build
from app.http import wire
from app.http.keys import DATABASE
from app.threads import in_turn

_PAGE_SIZE = 1_000


@dataclass(frozen=True, kw_only=True)
class EnvironmentState:
    """A snapshot, and the moment of the query. `moment` None is the present."""

    snapshot: Snapshot
    moment: Moment | None = None


async def read_state(request: web.Request) -> EnvironmentState:
    """Return the state of the path's environment at `at` or `revision`, by default now.

    Raises NotFound, Malformed for the moment, and Unavailable when the past cannot be read.
    """
    environment = request.match_info["environment"]
    query = {name: request.query[name] for name in ("at", "revision") if request.query.get(name)}
    moment = wire.moment(query)
    if moment is None:
        return EnvironmentState(snapshot=request.app[FOLLOWER].get(environment))
    return EnvironmentState(snapshot=await _past(request, environment, moment), moment=moment)


async def _past(request: web.Request, name: str, moment: Moment) -> Snapshot:
    found: list[Configuration] = []
    async with request.app[DATABASE].connection() as connection:
        environment = await environment_at(connection, name, moment)
        after: str | None = ""
        while after is not None:
            page, _ = await entries.list_page(
                connection, name, environment.revision, after=after, limit=_PAGE_SIZE
            )
            found += page.items
            after = page.next
    return await in_turn("past state", partial(build, environment, found))
