"""Show the availability and the write latency of each instance, from its heartbeats.

Availability is the share of successful heartbeats among those due. A failed heartbeat and a gap
without rows both count as missed.
"""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from rich.console import Console
from rich.progress import track
from rich.table import Table

from app.database import sql
from app.scripts import Resources, run_script

_PAGE = 5_000
_CELLS = 48
_LEVELS = "▁▂▃▄▅▆▇█"


@dataclass(frozen=True, kw_only=True)
class HeartbeatSample:
    at: datetime
    ok: bool
    latency_ms: float | None


async def main(resources: Resources) -> None:
    health = resources.settings.health
    until = datetime.now(UTC)
    since = until - timedelta(seconds=health.retention_seconds)
    beats = await _read(resources, since)

    console = Console()
    table = Table(title=f"Heartbeats since {since:%Y-%m-%d %H:%M} UTC")
    for heading in (
        "instance",
        "beats",
        "missed",
        "available",
        "p50 ms",
        "p95 ms",
        "p99 ms",
        "latency",
    ):
        table.add_column(heading, justify="left" if heading in {"instance", "latency"} else "right")
    for instance in track(sorted(beats), "instances", console=console, transient=True):
        table.add_row(instance, *summary(beats[instance], health.interval_seconds))
    console.print(table)


async def _read(resources: Resources, since: datetime) -> dict[str, list[HeartbeatSample]]:
    beats: dict[str, list[HeartbeatSample]] = defaultdict(list)
    last_id = 0
    while True:
        async with resources.database.connection() as connection:
            page = sql.list_heartbeats(connection, since=since, after_id=last_id, page_size=_PAGE)
            rows = [row async for row in page]
        for row in rows:
            beat = HeartbeatSample(
                at=row["checked_at"], ok=row["status"] == "ok", latency_ms=row["latency_ms"]
            )
            beats[row["instance"]].append(beat)
        if len(rows) < _PAGE:
            return {name: sorted(rows, key=lambda b: b.at) for name, rows in beats.items()}
        last_id = rows[-1]["id"]


def summary(beats: Sequence[HeartbeatSample], interval_seconds: float) -> tuple[str, ...]:
    """Return the table row of one instance, from its heartbeats in order of time."""
    good = [beat for beat in beats if beat.ok]
    missed = len(beats) - len(good)
    gaps = sum(
        # Jitter adds up to 20 % to an interval. Above 2.5 intervals a heartbeat is missing.
        round((later.at - earlier.at).total_seconds() / interval_seconds) - 1
        for earlier, later in pairwise(beats)
        if (later.at - earlier.at).total_seconds() > 2.5 * interval_seconds
    )
    due = len(beats) + gaps
    latencies = sorted(beat.latency_ms for beat in good if beat.latency_ms is not None)
    return (
        str(len(good)),
        str(missed + gaps),
        f"{len(good) / due:.2%}",
        *(f"{percentile(latencies, share):.1f}" for share in (0.5, 0.95, 0.99)),
        sparkline(beats),
    )


def percentile(ordered: Sequence[float], share: float) -> float:
    """Return the nearest-rank percentile of sorted numbers; 0 without any."""
    if not ordered:
        return 0.0
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def sparkline(beats: Sequence[HeartbeatSample]) -> str:
    """Return the highest latency of each period, or a cross for a period with a failure."""
    start, end = beats[0].at, beats[-1].at
    span = max((end - start).total_seconds(), 1.0)
    cells: list[list[HeartbeatSample]] = [[] for _ in range(_CELLS)]
    for beat in beats:
        position = (beat.at - start).total_seconds() / span * _CELLS
        cells[min(_CELLS - 1, int(position))].append(beat)
    most = max((beat.latency_ms or 0 for beat in beats), default=0) or 1.0
    return "".join(_cell(cell, most) for cell in cells)


def _cell(beats: Sequence[HeartbeatSample], most: float) -> str:
    if not beats:
        return " "
    if not all(beat.ok for beat in beats):
        return "×"  # noqa: RUF001 - a cross is meant
    highest = max(beat.latency_ms or 0 for beat in beats)
    return _LEVELS[min(len(_LEVELS) - 1, int(highest / most * (len(_LEVELS) - 1)))]


if __name__ == "__main__":
    run_script(main)
