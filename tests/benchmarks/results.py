"""The figures of all parts beside their goals, as a table and as JSON."""

import os
import platform
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime

import msgspec
from rich.table import Column, Table

from tests.benchmarks.figures import Figure
from tests.benchmarks.goals import GOALS, Goal


class NotMeasurable(Exception):
    """This machine lacks what a part needs. The message says what."""


def _today() -> date:
    return datetime.now(UTC).date()


class Results(msgspec.Struct, kw_only=True):
    """The figures of one run or of two, by part."""

    parts: dict[str, list[Figure]] = msgspec.field(default_factory=dict)
    failures: list[str] = msgspec.field(default_factory=list)
    measured_on: date = msgspec.field(default_factory=_today)
    python: str = msgspec.field(default_factory=platform.python_version)
    processors: int = msgspec.field(default_factory=lambda: os.cpu_count() or 1)
    # Over the last minute of the run. More than 2 says that other work disturbed it.
    load_average: float = 0.0

    def add(self, part: str, figures: Sequence[Figure]) -> None:
        """Add the figures of a part. Those of its second run are averaged with the first."""
        if part not in self.parts:
            self.parts[part] = list(figures)
            return
        second = {(figure.case, figure.unit): figure for figure in figures}
        self.parts[part] = [
            figure.averaged(second[figure.case, figure.unit]) for figure in self.parts[part]
        ]


def goal_of(part: str, figure: Figure) -> Goal | None:
    return GOALS.get(part, {}).get(figure.case, {}).get(figure.unit)


def unmeasured(results: Results) -> Iterator[str]:
    """Yield the goals of the measured parts that have no figure."""
    for part, figures in results.parts.items():
        measured = {(figure.case, figure.unit) for figure in figures}
        for case, goals in GOALS.get(part, {}).items():
            for unit, goal in goals.items():
                if (case, unit) not in measured:
                    yield f"{part}: {case}: {goal} {unit} was not measured"


def table(results: Results) -> Table:
    """Return the figures of each part in a section of its own."""
    printed = Table(
        "part",
        "case",
        Column("figure", justify="right"),
        "of what",
        Column("goal", justify="right"),
        "",
        "detail",
        title="Measured on this machine; a ± b: two runs measured a - b and a + b",
        caption=f"Load {results.load_average:.1f} on {results.processors} processors at the end",
    )
    for part, figures in results.parts.items():
        before = ""
        for position, figure in enumerate(figures):
            goal = goal_of(part, figure)
            printed.add_row(
                "" if position else part,
                "" if figure.case == before else figure.case,
                str(figure),
                figure.unit,
                str(goal or ""),
                verdict(goal, figure),
                figure.detail,
            )
            before = figure.case
        printed.add_section()
    return printed


def verdict(goal: Goal | None, figure: Figure) -> str:
    if goal is None:
        return ""
    return "[green]met" if goal.is_met(figure.value) else "[red]not met"
