"""Figures with their targets, and a table of them."""

import os
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.table import Column, Table


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A measured value and its lower or upper target."""

    case: str
    value: float
    unit: str
    at_least: float | None = None
    at_most: float | None = None
    detail: str = ""

    @property
    def target(self) -> str:
        if self.at_least is not None:
            return f"≥ {self.at_least:g}"
        return "" if self.at_most is None else f"≤ {self.at_most:g}"

    @property
    def verdict(self) -> str:
        if self.at_least is None and self.at_most is None:
            return ""
        too_low = self.at_least is not None and self.value < self.at_least
        too_high = self.at_most is not None and self.value > self.at_most
        return "[red]not met" if too_low or too_high else "[green]met"


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


def spread(rounds: Sequence[Sequence[float]]) -> str:
    """Describe rounds of times, given in seconds: how many, the median rounds, and all together."""
    together = [value for latencies in rounds for value in latencies]
    middle = f"p50 {median_of(rounds, 0.5) * 1000:.2f} ms, median of {len(rounds)} rounds"
    return f"{middle}; all {len(together)}: {milliseconds(together)}"


def table(parts: Mapping[str, Sequence[Figure]]) -> Table:
    """Return the figures of each part in a section of its own."""
    printed = Table(
        "part",
        "case",
        Column("figure", justify="right"),
        Column("target", justify="right"),
        "of what",
        "",
        "detail",
        title="Measured in one run, on this machine",
        caption=f"Load {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors at the end",
    )
    for part, figures in parts.items():
        for position, figure in enumerate(figures):
            printed.add_row(
                "" if position else part,
                figure.case,
                f"{figure.value:.3g}",
                figure.target,
                figure.unit,
                figure.verdict,
                figure.detail,
            )
        printed.add_section()
    return printed
