"""The environment that a page shows: now, or as of a moment in the past."""

import re
from dataclasses import dataclass

from aiohttp import web

from app.access.guard import readable_keys
from app.configuration.changes.past import Moment
from app.configuration.snapshots.reading import own_snapshot, wait_until_served
from app.configuration.snapshots.snapshot import Snapshot
from app.console.past_states import PastStates
from app.http import wire
from app.http.keys import DATABASE
from app.threads import in_turn

PAST_STATES: web.AppKey[PastStates] = web.AppKey("past_states", PastStates)
# A time without its zone, as a date field sends it.
_LOCAL_TIME = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}(:\d{2})?")


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
    moment = read_moment(request)
    if moment is None:
        if (saved := read_revision(request, "saved")) is not None:
            # Another instance may have saved it, a moment ago.
            await wait_until_served(request, environment, saved)
        return EnvironmentState(snapshot=own_snapshot(request, environment))
    states, database = request.app[PAST_STATES], request.app[DATABASE]
    snapshot = await states.read(database, environment, moment)
    keys = readable_keys(request)
    if not snapshot.has_part(keys):
        whole = snapshot
        snapshot = await in_turn("part", lambda: whole.limited_to(keys))
    return EnvironmentState(snapshot=snapshot.limited_to(keys), moment=moment)


def read_revision(request: web.Request, name: str) -> int | None:
    """Return the revision that a parameter of the query names, None for any other text."""
    text = request.query.get(name, "")
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= 18 else None


def read_moment(request: web.Request, at: str = "at", revision: str = "revision") -> Moment | None:
    """Return the moment that two parameters of the query name. Raises Malformed.

    A date field sends a time without a zone. It is in UTC; our JavaScript sends the zone.
    """
    values = {"at": request.query.get(at), "revision": request.query.get(revision)}
    query = {name: value for name, value in values.items() if value}
    if "at" in query:
        query["at"] = with_zone(query["at"])
    return wire.moment(query)


def with_zone(text: str) -> str:
    """Return the text of a date field with the zone UTC, if it has none."""
    if _LOCAL_TIME.fullmatch(text):
        return f"{text}Z" if text.count(":") == 2 else f"{text}:00Z"
    return text
