"""Reading the counts of evaluations, and the flags that may no longer be needed."""

from datetime import datetime, timedelta
from itertools import groupby
from operator import itemgetter
from typing import Any, NamedTuple

from app.access.permissions import Keys
from app.database import Connection, sql
from app.environments import service as environments
from app.flags.usage import HOURS_MAX
from app.flags.views import FlagUse, OutcomeUse
from app.names import counted

# Remarks need a flag that is older than this, or more evaluations than this.
STALE_DAYS = 30
CERTAIN_COUNT = 100


async def read_usage(
    connection: Connection, environment: str, now: datetime, *, keys: Keys
) -> list[FlagUse]:
    """Return every flag of these keys with its usage. Raises NotFound."""
    await environments.get(connection, environment)
    found = sql.list_flag_usage(connection, environment=environment, prefixes=keys.filter)
    rows = [row async for row in found]
    return [_use(key, list(of_flag), now) for key, of_flag in groupby(rows, itemgetter("key"))]


async def read_flag_use(connection: Connection, environment: str, key: str) -> list[OutcomeUse]:
    """Return the counts of one flag by outcome, the most frequent first."""
    rows = sql.list_usage_of_flag(connection, environment=environment, key=key)
    return [_outcome_use(row) async for row in rows]


class HourUse(NamedTuple):
    """The evaluations of one variant in one hour. The variant is empty for other outcomes."""

    hour: datetime
    variant: str
    evaluations: int


async def read_hours(
    connection: Connection, environment: str, key: str, now: datetime
) -> list[HourUse]:
    """Return the hours of the last week in which a flag was evaluated, in their order."""
    rows = sql.list_flag_usage_hours(
        connection, environment=environment, key=key, since=now - timedelta(hours=HOURS_MAX)
    )
    return [HourUse(row["hour"], row["variant"], row["count"]) async for row in rows]


def _use(key: str, rows: list[Any], now: datetime) -> FlagUse:
    outcomes = [_outcome_use(row) for row in rows if row["count"] is not None]
    created_at = rows[0]["created_at"]
    last = max((outcome.last_evaluated_at for outcome in outcomes), default=None)
    return FlagUse(
        key=key,
        created_at=created_at,
        last_evaluated_at=last,
        count=sum(outcome.count for outcome in outcomes),
        outcomes=outcomes,
        remarks=usage_remarks(outcomes, last or created_at, now),
    )


def _outcome_use(row: Any) -> OutcomeUse:
    return OutcomeUse(
        reason=row["reason"],
        variant=row["variant"] or None,
        count=row["count"],
        last_evaluated_at=row["last_evaluated_at"],
    )


def usage_remarks(outcomes: list[OutcomeUse], last: datetime, now: datetime) -> list[str]:
    """Return why a flag may no longer be needed; `last` is its last evaluation or its creation."""
    days = (now - last).days
    if not outcomes:
        return ["is never evaluated"] if days >= STALE_DAYS else []
    remarks = []
    if days >= STALE_DAYS:
        remarks.append(f"was last evaluated {counted(days, 'day')} ago")
    variants = {outcome.variant for outcome in outcomes if outcome.variant is not None}
    reasons = {outcome.reason for outcome in outcomes}
    if len(variants) == 1 and sum(outcome.count for outcome in outcomes) >= CERTAIN_COUNT:
        remarks.append(f"always gives {next(iter(variants))}")
        if reasons == {"TARGETING_MATCH"}:
            remarks.append("only its rule is ever reached, never its default")
    return remarks
