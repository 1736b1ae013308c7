"""`docs/benchmarks.md` shows every goal, and is made from the output of `make bench`."""

import pytest

from tests.benchmarks.document import PAGE, with_tables
from tests.benchmarks.figures import Figure
from tests.benchmarks.goals import GOALS
from tests.benchmarks.results import Results, unmeasured

TEXT = PAGE.read_text()


@pytest.mark.parametrize("part", GOALS)
def test_page_shows_every_goal_of_a_part(part: str) -> None:
    table = _table(TEXT, part)

    for case, goals in GOALS[part].items():
        for unit, goal in goals.items():
            assert str(goal) in table[case][unit], (case, unit)


def test_page_has_rows_of_the_measured_cases() -> None:
    figures = [
        Figure(case="one flag", unit="µs of processor", value=50.0),
        Figure(case="one flag", unit="of the floor", value=1.2),
        Figure(case="another case", unit="requests/s", value=20_000.0, deviation=150.0),
    ]

    page = with_tables(TEXT, [Results(parts={"ofrep": figures})])

    table = _table(page, "ofrep")
    assert table["one flag"]["µs of processor"] == "50 (≤ 45 ✗)"
    assert table["one flag"]["of the floor"] == "1.2 (≥ 1.1 ✓)"
    assert table["another case"]["requests/s"] == "20,000 ± 150"
    assert page.partition("<!-- results")[0] == TEXT.partition("<!-- results")[0]


def test_results_of_two_runs_show_their_mean() -> None:
    results = Results()
    for value in (10.0, 12.0):
        results.add("puts", [Figure(case="PUT one entry, alone", unit="ms, p50", value=value)])

    (figure,) = results.parts["puts"]
    assert str(figure) == "11 ± 1"


def test_goal_without_a_figure_is_reported() -> None:
    results = Results(parts={"churn": []})

    assert list(unmeasured(results)) == [
        "churn: one of 10,000 flags, 10 changes/s: ≤ 3 ms, p99 was not measured"
    ]


def _table(page: str, part: str) -> dict[str, dict[str, str]]:
    """Return the cells of a part's table, by case and unit."""
    lines = page.partition(f"### `{part}`\n\n")[2].partition("\n\n")[0].splitlines()
    head, _, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert head[0] == "case"
    return {row[0]: dict(zip(head[1:], row[1:], strict=True)) for row in rows}
