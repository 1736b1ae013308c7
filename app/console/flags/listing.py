"""Read what the list of flags shows: the flags of one environment, beside those of the others."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

import msgspec
from aiohttp import web

from app.access.guard import CALLER
from app.configuration.snapshots.reading import FOLLOWER, load_snapshot
from app.configuration.snapshots.snapshot import Snapshot
from app.console.flags.columns import Column, choose_columns, past_column, production_of
from app.console.flags.filters import FlagFilter, ListFacts, select
from app.console.rendering import Frame
from app.console.state import EnvironmentState
from app.database import sql
from app.environments.models import Environment
from app.flags.index import FlagIndex, FlagIndexes, index_of
from app.flags.last_evaluations import LastEvaluationsCache
from app.flags.summary import FlagSummary
from app.http.keys import DATABASE
from app.threads import in_thread

# Drawing 100 rows holds the event loop for more than 20 ms.
PAGE_SIZE = 60

INDEXES: web.AppKey[FlagIndexes] = web.AppKey("flag_indexes", FlagIndexes)
LAST_EVALUATIONS: web.AppKey[LastEvaluationsCache] = web.AppKey(
    "last_evaluations", LastEvaluationsCache
)


@dataclass(frozen=True, kw_only=True)
class Listing:
    """One page of the list. `columns` are in the order of tiers; `hidden` have no place.

    `total` are all flags of the environment, and `matching` those that the filter selects.
    """

    flags: Sequence[FlagSummary]
    start: int
    matching: int
    total: int
    prefixes: Sequence[tuple[str, int]]
    columns: Sequence[Column]
    hidden: Sequence[Environment]
    production: Column | None
    now: datetime

    @property
    def next_start(self) -> int | None:
        end = self.start + len(self.flags)
        return end if end < self.matching else None


async def read_listing(
    request: web.Request, state: EnvironmentState, around: Frame, chosen: FlagFilter, start: int
) -> Listing:
    """Return a page of the flags that match. Raises Unavailable when the past cannot be read."""
    shown, hidden = choose_columns(around.environments, state.snapshot.environment.name)
    if isinstance(state.moment, int):
        # Revisions of two environments have no common order.
        shown, hidden = [state.snapshot.environment], []
    selection = await _read(request, state, shown, chosen)
    flags = selection.flags[start : start + PAGE_SIZE]
    columns = selection.columns
    if isinstance(state.moment, datetime):
        columns = [
            await past_column(request, column, state, [flag.key for flag in flags])
            for column in columns
        ]
    return Listing(
        flags=flags,
        start=start,
        matching=len(selection.flags),
        total=len(selection.index.known),
        prefixes=selection.index.prefixes,
        columns=columns,
        hidden=hidden,
        production=production_of(columns, state.snapshot.environment.name),
        now=selection.now,
    )


async def read_matching(
    request: web.Request, snapshot: Snapshot, around: Frame, chosen: FlagFilter
) -> list[FlagSummary]:
    """Return all flags of a current snapshot that match."""
    shown, _ = choose_columns(around.environments, snapshot.environment.name)
    return (await _read(request, EnvironmentState(snapshot=snapshot), shown, chosen)).flags


@dataclass(frozen=True, kw_only=True)
class _Selection:
    """All flags that match, and the columns beside them."""

    flags: list[FlagSummary]
    index: FlagIndex
    columns: Sequence[Column]
    now: datetime


async def _read(
    request: web.Request,
    state: EnvironmentState,
    shown: Sequence[Environment],
    chosen: FlagFilter,
) -> _Selection:
    """Select the flags, in the past without the filters that need the usage or production."""
    current = state.snapshot.environment
    now, mine = datetime.now(UTC), await _changed_by_caller(request, current, chosen)
    if state.moment is not None:
        index = await in_thread("flag index", partial(index_of, state.snapshot))
        chosen = msgspec.structs.replace(chosen, stale=False, differs=False)
        facts = ListFacts(
            now=state.moment if isinstance(state.moment, datetime) else now, mine=mine
        )
        columns = [Column(environment=item, find=index.find, last=None) for item in shown]
    else:
        indexes = await _indexes(request, state.snapshot, shown)
        cache, index = request.app[LAST_EVALUATIONS], indexes[current.name]
        columns = [
            Column(environment=item, find=indexes[item.name].find, last=await cache.get(item.name))
            for item in shown
        ]
        production = production_of(columns, current.name)
        facts = ListFacts(
            now=now,
            last=next(column.last for column in columns if column.environment.name == current.name),
            production=production.find if production is not None else None,
            mine=mine,
        )
    flags = select(index, chosen, facts)
    return _Selection(flags=flags, index=index, columns=columns, now=facts.now)


async def _indexes(
    request: web.Request, snapshot: Snapshot, shown: Sequence[Environment]
) -> dict[str, FlagIndex]:
    """Return the index of each environment that is shown, and drop those not in memory."""
    follower, indexes = request.app[FOLLOWER], request.app[INDEXES]
    indexes.forget(frozenset(follower.loaded()))
    request.app[LAST_EVALUATIONS].forget(frozenset(follower.environments()))
    by_name = {}
    for environment in shown:
        is_current = environment.name == snapshot.environment.name
        column = snapshot if is_current else await load_snapshot(request, environment.name)
        by_name[environment.name] = await indexes.get(column)
    return by_name


async def _changed_by_caller(
    request: web.Request, environment: Environment, chosen: FlagFilter
) -> frozenset[str]:
    """Return the keys that the caller has changed, if the filter needs them."""
    if not chosen.mine:
        return frozenset()
    async with request.app[DATABASE].connection() as connection:
        rows = sql.list_keys_changed_by(
            connection,
            environment=environment.name,
            actor=request[CALLER].actor,
            first=environment.first_revision,
        )
        return frozenset([row["key"] async for row in rows])
