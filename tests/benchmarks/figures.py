"""Figures, and the percentiles that most of them are."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace

FLOOR = "of the floor"
PROCESSOR = "µs of processor"
RATE = "requests/s"
P50 = "ms, p50"
P99 = "ms, p99"


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A measured value. `goals.py` has the goals, by case and unit.

    After two runs `value` is their mean, and `deviation` the distance of each from it.
    """

    case: str
    unit: str
    value: float
    deviation: float | None = None
    detail: str = ""

    def __str__(self) -> str:
        if self.deviation is None:
            return _short(self.value)
        return f"{_short(self.value)} ± {_short(self.deviation)}"

    def averaged(self, other: "Figure") -> "Figure":
        """Return the mean with the figure of a second run."""
        return replace(
            self,
            value=(self.value + other.value) / 2,
            deviation=abs(self.value - other.value) / 2,
        )


def _short(value: float) -> str:
    """Return three significant digits, and all digits before the point."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value that the given share of the values does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def milliseconds(values: Sequence[float]) -> str:
    """Describe times in seconds by their median and a high percentile."""
    middle, slow = percentile(values, 0.5) * 1000, percentile(values, 0.99) * 1000
    return f"p50 {middle:.2f} ms, p99 {slow:.2f} ms"


def median_of(rounds: Sequence[Sequence[float]], share: float) -> float:
    """Return the percentile of the median round."""
    return statistics.median(percentile(latencies, share) for latencies in rounds)


def latencies(case: str, rounds: Sequence[Sequence[float]]) -> list[Figure]:
    """Return the p50 and the p99 of the median round of times, given in seconds."""
    together = [value for times in rounds for value in times]
    return [
        Figure(case=case, unit=P50, value=median_of(rounds, 0.5) * 1000),
        Figure(
            case=case,
            unit=P99,
            value=median_of(rounds, 0.99) * 1000,
            detail=f"median of {len(rounds)} rounds; all {len(together)}: {milliseconds(together)}",
        ),
    ]
