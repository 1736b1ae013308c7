"""How the service has been: availability and write latency of each instance.

Availability counts what was written against what was due: a missed heartbeat that was written down
later, and a hole in which nobody wrote anything, both count against it.
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
class Beat:
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


async def _read(resources: Resources, since: datetime) -> dict[str, list[Beat]]:
    beats: dict[str, list[Beat]] = defaultdict(list)
    last_id = 0
    while True:
        async with resources.database.connection() as connection:
            page = sql.list_heartbeats(connection, since=since, after_id=last_id, page_size=_PAGE)
            rows = [row async for row in page]
        for row in rows:
            beat = Beat(
                at=row["checked_at"], ok=row["status"] == "ok", latency_ms=row["latency_ms"]
            )
            beats[row["instance"]].append(beat)
        if len(rows) < _PAGE:
            return {name: sorted(found, key=lambda b: b.at) for name, found in beats.items()}
        last_id = rows[-1]["id"]


def summary(beats: Sequence[Beat], interval_seconds: float) -> tuple[str, ...]:
    """Return a table's row for one instance's heartbeats, which are in order of time."""
    good = [beat for beat in beats if beat.ok]
    missed = len(beats) - len(good)
    holes = sum(
        # Jitter makes a fifth more of an interval; more than two and a half is a hole.
        round((later.at - earlier.at).total_seconds() / interval_seconds) - 1
        for earlier, later in pairwise(beats)
        if (later.at - earlier.at).total_seconds() > 2.5 * interval_seconds
    )
    due = len(beats) + holes
    latencies = sorted(beat.latency_ms for beat in good if beat.latency_ms is not None)
    return (
        str(len(good)),
        str(missed + holes),
        f"{len(good) / due:.2%}",
        *(f"{percentile(latencies, share):.1f}" for share in (0.5, 0.95, 0.99)),
        sparkline(beats),
    )


def percentile(ordered: Sequence[float], share: float) -> float:
    """Return the nearest-rank percentile of numbers in order; 0 when there are none."""
    if not ordered:
        return 0.0
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def sparkline(beats: Sequence[Beat]) -> str:
    """Return the highest latency of each stretch of time, or a cross where a beat was missed."""
    start, end = beats[0].at, beats[-1].at
    span = max((end - start).total_seconds(), 1.0)
    cells: list[list[Beat]] = [[] for _ in range(_CELLS)]
    for beat in beats:
        place = (beat.at - start).total_seconds() / span * _CELLS
        cells[min(_CELLS - 1, int(place))].append(beat)
    most = max((beat.latency_ms or 0 for beat in beats), default=0) or 1.0
    return "".join(_cell(cell, most) for cell in cells)


def _cell(beats: Sequence[Beat], most: float) -> str:
    if not beats:
        return " "
    if not all(beat.ok for beat in beats):
        return "×"  # noqa: RUF001 - a cross is meant
    highest = max(beat.latency_ms or 0 for beat in beats)
    return _LEVELS[min(len(_LEVELS) - 1, int(highest / most * (len(_LEVELS) - 1)))]


if __name__ == "__main__":
    run_script(main)
