"""The curve of a plan's percentage, in units of an SVG of 1,000 by 100."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

WIDTH = 1000
_MARGIN = 0.05
# The chart includes the present if it is at most this part of the plan's length away.
_PRESENT = 0.3
_LENGTH_MIN = 60.0

# Unix seconds, and the percentage from there on.
Point = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class PlanChart:
    """`past`, `future` and `possible` are points of polylines: they were, are planned, may begin.

    `now` is None outside of the chart.
    """

    past: str
    future: str
    possible: str
    now: float | None
    start: datetime
    end: datetime


def chart_of(points: Sequence[Point], possible: Sequence[Point], now: float) -> PlanChart | None:
    """Return the chart of a percentage that changes at these points, None without a point.

    `possible` are later points whose instants are not known: they are the earliest ones.
    """
    known = [*points, *possible]
    if not known:
        return None
    first, last = known[0][0], known[-1][0]
    length = max(last - first, _LENGTH_MIN)
    start, end = first - length * _MARGIN, last + length * _MARGIN
    if start - length * _PRESENT < now < end + length * _PRESENT:
        start, end = min(start, now), max(end, now)

    def x(moment: float) -> float:
        return round(WIDTH * (moment - start) / (end - start), 2)

    percent = points[-1][1] if points else 0.0
    flat = (possible[0][0] if possible else end, percent)
    line = [*_stairs(points), flat]
    before = [point for point in line if point[0] <= now]
    after = [point for point in line if point[0] > now]
    if before and after:
        meeting = (now, _between(before[-1], after[0], now))
        before, after = [*before, meeting], [meeting, *after]

    def text(part: Sequence[Point]) -> str:
        return " ".join(f"{x(moment)},{round(100 - percent, 2)}" for moment, percent in part)

    return PlanChart(
        past=text(before),
        future=text(after),
        possible=text([*_stairs([flat, *possible]), (end, possible[-1][1])] if possible else []),
        now=x(now) if start <= now <= end else None,
        start=datetime.fromtimestamp(start, UTC),
        end=datetime.fromtimestamp(end, UTC),
    )


def _stairs(points: Sequence[Point]) -> Iterator[Point]:
    """Yield the corners of a line that stays level until each next point."""
    for number, (moment, percent) in enumerate(points):
        if number:
            yield moment, points[number - 1][1]
        yield moment, percent


def _between(left: Point, right: Point, moment: float) -> float:
    if right[0] == left[0]:
        return left[1]
    return left[1] + (right[1] - left[1]) * (moment - left[0]) / (right[0] - left[0])
