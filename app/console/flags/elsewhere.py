"""The matches of a search in the other environments, for a list without a match."""

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial

import msgspec
from aiohttp import web

from app.configuration.snapshots.reading import loaded_snapshot
from app.console.flags.filters import FlagFilter, ListFacts, select
from app.console.flags.listing import INDEXES
from app.console.rendering import Frame
from app.threads import in_thread


async def count_elsewhere(
    request: web.Request, around: Frame, chosen: FlagFilter
) -> list[tuple[str, int, Mapping[str, str]]]:
    """Return each other environment with matches, their number, and the filter that finds them.

    The caller sees these environments. Filters that need the usage, production or the history are
    left out. The past is not searched.
    """
    chosen = msgspec.structs.replace(chosen, stale=False, differs=False, mine=False)
    if around.is_past or not chosen.is_restricting:
        return []
    facts = ListFacts(now=datetime.now(UTC))
    found: list[tuple[str, int, Mapping[str, str]]] = []
    current = around.environment.name if around.environment is not None else ""
    for environment in around.environments:
        snapshot = await loaded_snapshot(request, environment.name)
        if snapshot is None or environment.name == current:
            continue
        index = await request.app[INDEXES].get(snapshot)
        matches = await in_thread("flag search", partial(select, index, chosen, facts))
        if matches:
            found.append((environment.name, len(matches), chosen.parameters))
    return found
