"""Read what the list of flags shows: the flags of one environment, beside those of the others."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

from aiohttp import web

from app.access.guard import CALLER
from app.configuration.changes.history import entries_at, environment_at
from app.configuration.changes.models import Entry, Kind
from app.configuration.snapshots.reading import FOLLOWER
from app.configuration.snapshots.snapshot import Configuration, Snapshot
from app.console.flags.filters import FlagFilter, ListFacts, select
from app.console.rendering import Frame
from app.console.state import EnvironmentState
from app.database import sql
from app.environments.models import Environment
from app.flags.index import FlagIndex, FlagIndexes, index_of
from app.flags.last_evaluations import LastEvaluations, LastEvaluationsCache
from app.flags.summary import FlagSummary, summary_of
from app.http.keys import DATABASE
from app.settings import Tier
from app.threads import in_thread

PAGE_SIZE = 100
# A search in more flags takes several milliseconds, so it runs in a thread.
_QUICK_FLAGS = 1_000
# More columns do not fit beside the flag on a screen of 1280 pixels.
COLUMNS_MAX = 5

INDEXES: web.AppKey[FlagIndexes] = web.AppKey("flag_indexes", FlagIndexes)
LAST_EVALUATIONS: web.AppKey[LastEvaluationsCache] = web.AppKey(
    "last_evaluations", LastEvaluationsCache
)


@dataclass(frozen=True, kw_only=True)
class Column:
    """The flags of one environment, and when they were last evaluated: None when unknown."""

    environment: Environment
    find: Callable[[str], FlagSummary | None]
    last: LastEvaluations | None


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
    if state.moment is None:
        return await _present(request, state.snapshot, shown, hidden, chosen, start)
    return await _past(request, state, shown, hidden, chosen, start)


def choose_columns(
    environments: Sequence[Environment], current: str
) -> tuple[list[Environment], list[Environment]]:
    """Return the environments that have a column, and the others.

    The current one and production always have a column.
    """
    by_need = sorted(
        environments, key=lambda item: (item.name != current, item.tier != Tier.PRODUCTION)
    )
    chosen = {environment.name for environment in by_need[:COLUMNS_MAX]}
    shown = [environment for environment in environments if environment.name in chosen]
    return shown, [item for item in environments if item.name not in chosen]


async def read_matching(
    request: web.Request, snapshot: Snapshot, around: Frame, chosen: FlagFilter
) -> list[FlagSummary]:
    """Return all flags of a current snapshot that match."""
    shown, _ = choose_columns(around.environments, snapshot.environment.name)
    return (await _read_present(request, snapshot, shown, chosen)).flags


async def _present(
    request: web.Request,
    snapshot: Snapshot,
    shown: Sequence[Environment],
    hidden: Sequence[Environment],
    chosen: FlagFilter,
    start: int,
) -> Listing:
    present = await _read_present(request, snapshot, shown, chosen)
    flags = present.flags
    return Listing(
        flags=flags[start : start + PAGE_SIZE],
        start=start,
        matching=len(flags),
        total=len(present.index.known),
        prefixes=present.index.prefixes,
        columns=present.columns,
        hidden=hidden,
        production=present.production,
        now=present.now,
    )


@dataclass(frozen=True, kw_only=True)
class _Present:
    """All flags that match, and the columns beside them."""

    flags: list[FlagSummary]
    index: FlagIndex
    columns: Sequence[Column]
    production: Column | None
    now: datetime


async def _read_present(
    request: web.Request, snapshot: Snapshot, shown: Sequence[Environment], chosen: FlagFilter
) -> _Present:
    follower, indexes = request.app[FOLLOWER], request.app[INDEXES]
    existing = frozenset(follower.loaded())
    indexes.forget(existing)
    request.app[LAST_EVALUATIONS].forget(existing)
    name = snapshot.environment.name
    by_name: dict[str, FlagIndex] = {}
    columns = []
    for environment in shown:
        of_column = snapshot if environment.name == name else follower.get(environment.name)
        index = by_name[environment.name] = await indexes.get(of_column)
        last = await request.app[LAST_EVALUATIONS].get(environment.name)
        columns.append(Column(environment=environment, find=index.find, last=last))
    production = _production(columns, name)
    facts = ListFacts(
        now=datetime.now(UTC),
        last=next(column.last for column in columns if column.environment.name == name),
        production=by_name[production.environment.name] if production is not None else None,
        mine=await _changed_by_caller(request, snapshot.environment) if chosen.mine else (),
    )
    return _Present(
        flags=await _select(by_name[name], chosen, facts),
        index=by_name[name],
        columns=columns,
        production=production,
        now=facts.now,
    )


async def _past(
    request: web.Request,
    state: EnvironmentState,
    shown: Sequence[Environment],
    hidden: Sequence[Environment],
    chosen: FlagFilter,
    start: int,
) -> Listing:
    """Return the list as of a moment, without usage. The other columns are of the same time."""
    snapshot, moment = state.snapshot, state.moment
    index = await in_thread("flag index", partial(index_of, snapshot))
    facts = ListFacts(
        now=moment if isinstance(moment, datetime) else datetime.now(UTC),
        mine=await _changed_by_caller(request, snapshot.environment) if chosen.mine else (),
    )
    flags = await _select(index, chosen, facts)
    page = flags[start : start + PAGE_SIZE]
    columns = []
    for environment in shown:
        find: Callable[[str], FlagSummary | None] = index.find
        if environment.name != snapshot.environment.name and isinstance(moment, datetime):
            keys = [flag.key for flag in page]
            find = (await _summaries_at(request, environment.name, moment, keys)).get
        columns.append(Column(environment=environment, find=find, last=None))
    return Listing(
        flags=page,
        start=start,
        matching=len(flags),
        total=len(index.known),
        prefixes=index.prefixes,
        columns=columns,
        hidden=hidden,
        production=_production(columns, snapshot.environment.name),
        now=facts.now,
    )


async def _select(index: FlagIndex, chosen: FlagFilter, facts: ListFacts) -> list[FlagSummary]:
    if len(index.known) <= _QUICK_FLAGS:
        return select(index, chosen, facts)
    return await in_thread("flag list", partial(select, index, chosen, facts))


def _production(columns: Sequence[Column], current: str) -> Column | None:
    """Return the first production environment, unless the current one is of that tier."""
    tiers = {column.environment.name: column.environment.tier for column in columns}
    if tiers[current] == Tier.PRODUCTION:
        return None
    found = (column for column in columns if column.environment.tier == Tier.PRODUCTION)
    return next(found, None)


async def _changed_by_caller(request: web.Request, environment: Environment) -> frozenset[str]:
    actor = request[CALLER].actor
    async with request.app[DATABASE].connection() as connection:
        rows = sql.list_keys_changed_by(
            connection,
            environment=environment.name,
            actor=actor,
            first=environment.first_revision,
        )
        return frozenset([row["key"] async for row in rows])


async def _summaries_at(
    request: web.Request, name: str, moment: datetime, keys: Sequence[str]
) -> Mapping[str, FlagSummary]:
    async with request.app[DATABASE].connection() as connection:
        environment = await environment_at(connection, name, moment)
        entries = await entries_at(connection, name, environment.revision, keys)
    return {
        key: summary_of(_configuration(name, entry, moment))
        for key, entry in entries.items()
        if entry.content is not None and entry.content.kind is Kind.FLAG
    }


def _configuration(environment: str, entry: Entry, moment: datetime) -> Configuration:
    """Return a past entry as a configuration. Its times are unknown, and the list shows none."""
    content = entry.content
    return Configuration(
        environment=environment,
        key=entry.key,
        kind=Kind.FLAG,
        value=content.value if content is not None else None,
        schema=None,
        description=content.description if content is not None else None,
        version=entry.version or 0,
        updated_revision=0,
        created_at=moment,
        updated_at=moment,
    )
