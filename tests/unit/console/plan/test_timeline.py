"""The timeline of a plan: its steps, its state, and its curve."""

from typing import Any

import pytest

from app.console.plan.chart import chart_of
from app.console.plan.timeline import timeline_of
from app.evaluation.plans.control import pause
from app.evaluation.plans.instants import parse
from tests.factories import flag

DAY = 86_400
START = parse("2026-12-01T00:00:00Z")


def _plan(*steps: dict[str, Any], **members: Any) -> dict[str, Any]:
    return flag(defaultVariant="off", plan={"name": "launch", "steps": list(steps), **members})


def _step(day: int, percent: float, **members: Any) -> dict[str, Any]:
    rollout = {"variant": "on", "percent": percent}
    return {"at": f"2026-12-{day:02}T00:00:00Z", "rollout": rollout, **members}


PLAIN = _plan(_step(1, 10), _step(2, 50), _step(4, 100))
HELD = _plan(_step(1, 10), _step(2, 50, hold="approval"), _step(4, 100))


@pytest.mark.parametrize(
    ("definition", "seconds", "badge", "states", "actions"),
    [
        (PLAIN, -1, "not begun", "later later later", "pause return"),
        (PLAIN, DAY, "running", "done current later", "pause finish return"),
        (PLAIN, 9 * DAY, "done", "done done current", "finish return"),
        (HELD, DAY - 1, "running", "current later later", "pause finish return"),
        (HELD, DAY, "held", "current later later", "continue pause finish return"),
        (pause(PLAIN, START), DAY, "paused", "current later later", "continue finish return"),
    ],
)
def test_timeline_says_where_the_plan_is(
    definition: Any, seconds: int, badge: str, states: str, actions: str
) -> None:
    timeline = timeline_of(definition, START + seconds)

    assert timeline is not None
    assert timeline.badge[0] == badge
    assert [step.state for step in timeline.steps] == states.split()
    assert list(timeline.actions) == actions.split()


def test_step_after_an_approval_has_no_known_time() -> None:
    timeline = timeline_of(HELD, START)

    assert timeline is not None
    assert [step.is_at_known for step in timeline.steps] == [True, False, False]
    assert timeline.steps[1].words == ["on for 50 %", "waits for an approval before it begins"]
    assert timeline.chart is not None
    assert timeline.chart.possible


@pytest.mark.parametrize("value", [{}, flag(), flag(plan={"steps": "x"})])
def test_definition_without_a_plan_has_no_timeline(value: Any) -> None:
    assert timeline_of(value, START) is None


def test_plan_without_a_percentage_has_no_curve() -> None:
    timeline = timeline_of(_plan({"at": "2026-12-01T00:00:00Z", "state": "DISABLED"}), START)

    assert timeline is not None
    assert timeline.chart is None
    assert timeline.steps[0].words == ["disables the flag"]


def test_chart_divides_the_curve_at_the_present() -> None:
    chart = chart_of([(0, 10.0), (100, 50.0)], [], 50)

    assert chart is not None
    assert chart.now == 500
    assert chart.past == "45.45,90.0 500.0,90.0"
    assert chart.future == "500.0,90.0 954.55,90.0 954.55,50.0 1000.0,50.0"
    assert not chart.possible


@pytest.mark.parametrize("now", [-10_000, 10_000])
def test_chart_far_from_the_present_does_not_show_it(now: int) -> None:
    chart = chart_of([(0, 10.0), (100, 50.0)], [], now)

    assert chart is not None
    assert chart.now is None
    assert bool(chart.past) is (now > 0)
    assert bool(chart.future) is (now < 0)


def test_chart_without_points_is_none() -> None:
    assert chart_of([], [], 0) is None
