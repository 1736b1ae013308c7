"""The columns of the list of flags: one for each environment that has a place."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from aiohttp import web

from app.access.guard import readable_keys
from app.configuration.changes.models import Content, Kind
from app.configuration.changes.past import entries_at, environment_at
from app.configuration.snapshots.snapshot import Configuration
from app.console.state import EnvironmentState
from app.environments.models import Environment
from app.flags.last_evaluations import LastEvaluations
from app.flags.summary import FlagSummary, summary_of
from app.http.keys import DATABASE
from app.settings import Tier

# More columns do not fit beside the flag on a screen of 1280 pixels.
COLUMNS_MAX = 5


@dataclass(frozen=True, kw_only=True)
class Column:
    """The flags of one environment, and when they were last evaluated: None when unknown."""

    environment: Environment
    find: Callable[[str], FlagSummary | None]
    last: LastEvaluations | None


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


def production_of(columns: Sequence[Column], current: str) -> Column | None:
    """Return the first production environment, unless the current one is of that tier."""
    tiers = {column.environment.name: column.environment.tier for column in columns}
    if tiers[current] == Tier.PRODUCTION:
        return None
    found = (column for column in columns if column.environment.tier == Tier.PRODUCTION)
    return next(found, None)


async def past_column(
    request: web.Request, column: Column, state: EnvironmentState, keys: Sequence[str]
) -> Column:
    """Return the column of an environment as of the time of the page, with these keys."""
    name, moment = column.environment.name, state.moment
    if name == state.snapshot.environment.name or not isinstance(moment, datetime):
        return column
    readable = readable_keys(request, name)
    async with request.app[DATABASE].connection() as connection:
        environment = await environment_at(connection, name, moment)
        entries = await entries_at(
            connection, name, environment.revision, [key for key in keys if key in readable]
        )
    summaries = {
        key: summary_of(_configuration(name, key, entry.content, moment))
        for key, entry in entries.items()
        if entry.content is not None and entry.content.kind is Kind.FLAG
    }
    return Column(environment=column.environment, find=summaries.get, last=None)


def _configuration(environment: str, key: str, content: Content, moment: datetime) -> Configuration:
    """Return a past content as an entry. Its version and times are unknown, and not shown."""
    return Configuration(
        environment=environment,
        key=key,
        kind=content.kind,
        value=content.value,
        schema=None,
        description=content.description,
        version=0,
        updated_revision=0,
        created_at=moment,
        updated_at=moment,
    )
