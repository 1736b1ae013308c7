"""The tab Usage: evaluations of each variant, by hour and in all."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from aiohttp import web

from app.configuration.snapshots.snapshot import Configuration
from app.console.flag.fragments import flag_part
from app.console.flag.views import require_flag
from app.console.state import read_state
from app.errors import Unavailable
from app.flags.handlers import USAGE
from app.flags.usage import HOURS_MAX
from app.flags.usage_report import HourUse, read_flag_use, read_hours, usage_remarks
from app.flags.views import OutcomeUse
from app.http.keys import DATABASE

# Hours of each range that a person can choose.
RANGES = {"day": 24, "week": HOURS_MAX}
_SHADES = 4
_OTHER_SHADE = 5
_NO_VARIANT = "no variant"


@dataclass(frozen=True, kw_only=True)
class UsageSegment:
    """A part of a column of the chart, in evaluations. `top` counts from the top of the chart."""

    column: int
    top: int
    height: int
    shade: int


@dataclass(frozen=True, kw_only=True)
class UsageVariant:
    name: str
    shade: int
    in_range: int
    total: int
    last: datetime | None


@dataclass(frozen=True, kw_only=True)
class UsageHour:
    hour: datetime
    counts: Sequence[int]


@dataclass(frozen=True, kw_only=True)
class UsageChart:
    """`peak` is the highest number of evaluations in one hour. `hours` has those with some."""

    start: datetime
    columns: int
    peak: int
    segments: Sequence[UsageSegment]
    variants: Sequence[UsageVariant]
    hours: Sequence[UsageHour]
    in_range: int
    total: int


async def get_usage(request: web.Request) -> web.Response:
    """Show how often each variant of a flag was served."""
    state = await read_state(request)
    entry = require_flag(state.snapshot, request.match_info["key"])
    range_ = request.query.get("range", "day")
    range_ = range_ if range_ in RANGES else "day"
    now = datetime.now(UTC)
    environment = state.snapshot.environment.name
    data: dict[str, Any] = {"chart": None, "remarks": [], "range": range_, "ranges": RANGES}
    data["waiting"] = request.app[USAGE].waiting(environment, entry.key)
    try:
        async with request.app[DATABASE].connection() as connection:
            outcomes = await read_flag_use(connection, environment, entry.key)
            hours = await read_hours(connection, environment, entry.key, now)
    except Unavailable:
        # The banner of the page says so too.
        return flag_part(request, state, entry, "usage", "flag/usage/content.html", **data)
    data["chart"] = chart_of(entry, hours, outcomes, RANGES[range_], now)
    last = max((item.last_evaluated_at for item in outcomes), default=entry.created_at)
    data["remarks"] = usage_remarks(outcomes, last, now)
    return flag_part(request, state, entry, "usage", "flag/usage/content.html", **data)


def chart_of(
    entry: Configuration,
    hours: Sequence[HourUse],
    outcomes: Sequence[OutcomeUse],
    columns: int,
    now: datetime,
) -> UsageChart:
    """Return the chart of the last hours, the current one included."""
    start = now.replace(minute=0, second=0, microsecond=0) - timedelta(hours=columns - 1)
    by_hour: defaultdict[int, dict[str, int]] = defaultdict(dict)
    for use in hours:
        column = int((use.hour - start).total_seconds()) // 3600
        if 0 <= column < columns:
            by_hour[column][use.variant] = use.evaluations
    names = _names(entry, outcomes, by_hour)
    shades = {
        name: number if name and number <= _SHADES else _OTHER_SHADE
        for number, name in enumerate(names, start=1)
    }
    peak = max((sum(counts.values()) for counts in by_hour.values()), default=0)
    return UsageChart(
        start=start,
        columns=columns,
        peak=peak,
        segments=[
            part
            for column, counts in sorted(by_hour.items())
            for part in _column(column, counts, shades, peak)
        ],
        variants=[_variant(name, shades[name], by_hour, outcomes) for name in names],
        hours=[
            UsageHour(
                hour=start + timedelta(hours=column),
                counts=[counts.get(name, 0) for name in names],
            )
            for column, counts in sorted(by_hour.items(), reverse=True)
        ],
        in_range=sum(sum(counts.values()) for counts in by_hour.values()),
        total=sum(outcome.count for outcome in outcomes),
    )


def _names(
    entry: Configuration,
    outcomes: Sequence[OutcomeUse],
    by_hour: Mapping[int, Mapping[str, int]],
) -> list[str]:
    """Return the variants of the flag and those that were evaluated; other outcomes are last."""
    definition = entry.value if isinstance(entry.value, dict) else {}
    variants = definition.get("variants")
    names = dict.fromkeys(variants if isinstance(variants, dict) else ())
    names |= dict.fromkeys(outcome.variant or "" for outcome in outcomes)
    names |= dict.fromkeys(name for counts in by_hour.values() for name in counts)
    return sorted(names, key=lambda name: name == "")


def _column(
    column: int, counts: Mapping[str, int], shades: Mapping[str, int], peak: int
) -> Iterator[UsageSegment]:
    bottom = peak
    for name, shade in shades.items():
        if height := counts.get(name, 0):
            bottom -= height
            yield UsageSegment(column=column, top=bottom, height=height, shade=shade)


def _variant(
    name: str,
    shade: int,
    by_hour: Mapping[int, Mapping[str, int]],
    outcomes: Sequence[OutcomeUse],
) -> UsageVariant:
    own = [outcome for outcome in outcomes if (outcome.variant or "") == name]
    return UsageVariant(
        name=name or _NO_VARIANT,
        shade=shade,
        in_range=sum(counts.get(name, 0) for counts in by_hour.values()),
        total=sum(outcome.count for outcome in own),
        last=max((outcome.last_evaluated_at for outcome in own), default=None),
    )
