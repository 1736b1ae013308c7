"""The strip of heartbeats: availability and latency of each instance, from `health_check`."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Any

from app.console.templating import exact_time
from app.database import Connection, sql
from app.names import counted
from app.settings import HealthSettings

INSTANCES_MAX = 20
BARS = 72
HEIGHT = 40
# Of each bar, 8 of 10 units are filled.
WIDTH = 10
_LOWEST = 6.0


@dataclass(frozen=True, kw_only=True)
class Bar:
    """One period: its place in the picture, how it went, and the same in words."""

    x: int
    y: float
    height: float
    kind: str
    text: str


@dataclass(frozen=True, kw_only=True)
class Strip:
    """The heartbeats of one instance. `availability` is None while nothing was due."""

    instance: str
    bars: Sequence[Bar]
    availability: float | None
    good: int
    missed: int
    last_at: datetime
    latency_p50_ms: float | None
    latency_p99_ms: float | None


async def read_strips(connection: Connection, settings: HealthSettings) -> list[Strip]:
    """Return the strips of the last 6 hours, or of the time that rows are stored."""
    seconds = min(settings.retention_seconds, 6 * 3600.0)
    bucket_seconds = max(1, round(seconds / BARS))
    until = datetime.now(UTC)
    since = until - timedelta(seconds=bucket_seconds * BARS)
    rows = [
        dict(row)
        async for row in sql.summarize_heartbeats(
            connection, since=since, bucket_seconds=bucket_seconds, instances_max=INSTANCES_MAX
        )
    ]
    due = bucket_seconds / settings.interval_seconds
    return [
        strip_of(name, list(group), since=since, bucket_seconds=bucket_seconds, due=due)
        for name, group in groupby(rows, key=lambda row: str(row["instance"]))
    ]


def strip_of(
    instance: str,
    rows: Sequence[dict[str, Any]],
    *,
    since: datetime,
    bucket_seconds: int,
    due: float,
) -> Strip:
    """Return the strip of the rows of one instance; the first row is the whole.

    `due` is how many heartbeats a period should have. A period without any, between others, counts
    as missed.
    """
    whole = rows[0]
    buckets = {row["bucket"]: row for row in rows[1:] if 0 <= row["bucket"] < BARS}
    gaps = _gaps(buckets)
    good, missed = whole["good"], whole["missed"] + round(len(gaps) * due)
    highest = max((row["latency_p99_ms"] or 0 for row in buckets.values()), default=0) or 1
    bars = []
    for number in range(BARS):
        at = since + timedelta(seconds=number * bucket_seconds)
        row = buckets.get(number)
        if row is None:
            bars.append(_missed(number, at) if number in gaps else _absent(number, at))
        else:
            bars.append(_bar(number, at, row, highest))
    return Strip(
        instance=instance or "unnamed",
        bars=bars,
        availability=good / (good + missed) if good + missed else None,
        good=good,
        missed=missed,
        last_at=whole["last_at"],
        latency_p50_ms=whole["latency_p50_ms"],
        latency_p99_ms=whole["latency_p99_ms"],
    )


def _gaps(numbers: Iterable[int]) -> frozenset[int]:
    """Return the empty periods between the first and the last one with a heartbeat."""
    present = set(numbers)
    if not present:
        return frozenset()
    return frozenset(range(min(present), max(present))) - present


def _missed(number: int, at: datetime) -> Bar:
    text = f"{exact_time(at)}: every heartbeat missed"
    return Bar(x=number * WIDTH, y=0, height=HEIGHT, kind="missed", text=text)


def _absent(number: int, at: datetime) -> Bar:
    text = f"{exact_time(at)}: not running"
    return Bar(x=number * WIDTH, y=HEIGHT - 2, height=2, kind="none", text=text)


def _bar(number: int, at: datetime, row: dict[str, Any], highest: float) -> Bar:
    place = number * WIDTH
    if row["missed"]:
        text = f"{exact_time(at)}: {counted(row['missed'], 'heartbeat')} missed"
        return Bar(x=place, y=0, height=HEIGHT, kind="missed", text=text)
    latency = row["latency_p99_ms"] or 0
    height = round(_LOWEST + (HEIGHT - 8 - _LOWEST) * latency / highest, 1)
    text = f"{exact_time(at)}: {counted(row['good'], 'heartbeat')}, p99 {latency:.1f} ms"
    return Bar(x=place, y=HEIGHT - height, height=height, kind="ok", text=text)
