"""Write the tables of `docs/benchmarks.md`: python -m tests.benchmarks.document RESULT.json …

Each file is the output of `--json`. A later file replaces the parts of an earlier one.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from tests.benchmarks import capacity
from tests.benchmarks.figures import Figure
from tests.benchmarks.goals import GOALS
from tests.benchmarks.results import Results

PAGE = capacity.PAGE
_BEGIN, _END = "<!-- results: begin -->", "<!-- results: end -->"
# What a reader must know of a part before its table.
_NOTES = {
    "fan_out": "All relays had one processor together, and the clients the other one. So a change "
    "needs at least 20 times the processor time of a relay.",
}
_BETWEEN = re.compile(f"(?<={_BEGIN}\n).*(?={_END})", re.DOTALL)


def main(files: Annotated[list[Path], typer.Argument(help="Outputs of --json.")]) -> None:
    """Replace the tables of the page, and the constants and picture of the capacity model."""
    results = [msgspec.json.decode(file.read_bytes(), type=Results) for file in files]
    PAGE.write_text(with_tables(PAGE.read_text(), results))
    capacity.main()


def with_tables(page: str, results: Iterable[Results]) -> str:
    """Return the page with the figures of these results."""
    lines: list[str] = []
    parts: dict[str, list[Figure]] = {}
    for result in results:
        if result.parts:
            lines.append(
                f"* {', '.join(f'`{part}`' for part in result.parts)}: "
                f"measured on {result.measured_on:%d %B %Y}, Python {result.python}, "
                f"{result.processors} processors, "
                f"load average {result.load_average:.1f} at the end."
            )
        parts |= result.parts
    for part in dict.fromkeys([*GOALS, *parts]):
        lines += ["", f"### `{part}`", ""]
        lines += [_NOTES[part], ""] if part in _NOTES else []
        lines += _table(part, parts.get(part, []))
    return _BETWEEN.sub(lambda _: "\n".join([*lines, "", ""]), page)


def _table(part: str, figures: list[Figure]) -> Iterator[str]:
    """Yield a table with a row for each case and a column for each unit."""
    goals = GOALS.get(part, {})
    measured = {(figure.case, figure.unit): figure for figure in figures}
    wanted = [(case, unit) for case, of_case in goals.items() for unit in of_case]
    cases = dict.fromkeys(case for case, _ in [*measured, *wanted])
    units = dict.fromkeys(unit for _, unit in [*measured, *wanted])
    yield f"| case | {' | '.join(units)} |"
    yield f"|---|{'---|' * len(units)}"
    for case in cases:
        cells = (_cell(part, case, unit, measured) for unit in units)
        yield f"| {case} | {' | '.join(cells)} |"


def _cell(part: str, case: str, unit: str, measured: Mapping[tuple[str, str], Figure]) -> str:
    figure = measured.get((case, unit))
    goal = GOALS.get(part, {}).get(case, {}).get(unit)
    if figure is None:
        return f"- ({goal})" if goal else ""
    if goal is None:
        return str(figure)
    return f"{figure} ({goal} {'✓' if goal.is_met(figure.value) else '✗'})"


if __name__ == "__main__":
    typer.run(main)
