"""Pause, continue, skip and stop a plan."""

from typing import Any

import pytest

from app.errors import Conflict, Invalid, NotFound
from app.evaluation.engine import Flag, FlagSet
from app.evaluation.plans import control
from app.evaluation.plans.instants import parse, text_of
from app.evaluation.plans.status import PlanStatus, status_of
from tests.unit.evaluation.plans.plans import HOUR, START, planned, variant

DAY = 24 * HOUR
KEYS = [f"user-{number}" for number in range(2_000)]


def ramp(*percents: float, **members: Any) -> dict[str, Any]:
    steps = [{"rollout": {"variant": "on", "percent": percent}} for percent in percents]
    return planned(steps, **members)


def begins(definition: dict[str, Any]) -> list[int]:
    return [parse(step["at"]) - START for step in definition["plan"]["steps"]]


def status(definition: dict[str, Any], now: int) -> PlanStatus:
    found = status_of(definition, now)
    assert found is not None
    return found


def share(definition: dict[str, Any], now: int) -> float:
    flag = Flag("flag", definition, FlagSet({}, "v3", {}))
    served = [flag.evaluate({"targetingKey": key}, now).outcome.variant for key in KEYS]
    return served.count("on") / len(KEYS)


def test_status_follows_the_steps() -> None:
    definition = ramp(1, 10, 100)

    states = [status(definition, START + moment) for moment in (-1, 0, DAY, 2 * DAY)]

    assert [s.progress for s in states] == ["waiting", "running", "running", "done"]
    assert [s.step for s in states] == [0, 1, 2, 3]
    assert [s.next_step for s in states] == [1, 2, 3, None]
    assert [s.changes_at for s in states] == [START, START + DAY, START + 2 * DAY, None]


def test_continue_beyond_the_year_9999_is_refused() -> None:
    definition = planned([{"at": "9999-12-31T23:59:59Z", "defaultVariant": "on"}])
    paused = control.pause(definition, START)

    with pytest.raises(Conflict, match="after the year 9999"):
        control.resume(paused, START + HOUR)


def test_continue_moves_later_steps_by_the_pause() -> None:
    paused = control.pause(ramp(1, 10, 100), START + DAY + HOUR)

    state = status(paused, START + 9 * DAY)
    resumed = control.resume(paused, START + DAY + 3 * HOUR)

    assert (state.progress, state.step, state.next_at) == ("paused", 2, None)
    assert begins(resumed) == [0, DAY, 2 * DAY + 2 * HOUR]
    assert "pausedAt" not in resumed["plan"]


def test_linear_plan_continues_where_it_was_paused() -> None:
    definition = ramp(0, 100, linear=True)
    half, end = START + DAY // 2, START + 3 * DAY

    paused = control.pause(definition, half)
    resumed = control.resume(paused, end)

    assert share(paused, end) == share(resumed, end) == share(definition, half)
    assert status(resumed, end + DAY // 4).rollout == status(definition, half + DAY // 4).rollout
    assert status(resumed, end + DAY // 2).progress == "done"


def test_held_step_begins_when_it_is_continued() -> None:
    definition = ramp(1, 10, 100)
    definition["plan"]["steps"][1]["hold"] = "approval"

    held = status(definition, START + 5 * DAY)
    resumed = control.resume(definition, START + 3 * DAY)

    assert (held.progress, held.step, held.waits_for_approval) == ("held", 1, True)
    assert begins(resumed) == [0, 3 * DAY, 4 * DAY]
    assert "hold" not in resumed["plan"]["steps"][1]


def test_hold_of_minutes_ends_by_itself() -> None:
    definition = ramp(1, 10)
    definition["plan"]["steps"][1]["hold"] = 30

    states = [status(definition, START + DAY + moment) for moment in (-1, 0, 1799, 1800)]

    assert [s.progress for s in states] == ["running", "held", "held", "done"]
    assert states[1].next_at == START + DAY + 1800
    assert begins(control.resume(definition, START + DAY + 60)) == [0, DAY + 60]


def test_skip_begins_a_step_with_what_earlier_ones_set() -> None:
    definition = planned(
        [
            {"rollout": {"variant": "on", "percent": 1}},
            {"state": "ENABLED"},
            {"defaultVariant": "on"},
        ],
        state="DISABLED",
    )

    skipped = control.skip_to(definition, 3, START + HOUR)

    assert begins(skipped)[2] == HOUR
    assert skipped["plan"]["steps"][1]["skipped"] is True
    assert status(skipped, START + HOUR).progress == "done"
    assert variant(skipped, {"targetingKey": "a"}, START + HOUR) == "on"


def test_stop_returns_to_the_definition_before_the_plan() -> None:
    definition = ramp(1, 100)

    stopped = control.stop(definition, START + DAY)

    assert {**stopped, "plan": definition["plan"]} == definition


def test_finish_stores_the_definition_in_force() -> None:
    finished = control.finish(ramp(1, 25), START + DAY)

    assert "plan" not in finished
    assert finished["targeting"] == {"fractional": [["on", 25], ["off", 75]]}


def test_control_in_a_wrong_state_is_refused() -> None:
    definition = ramp(1, 10)

    with pytest.raises(Conflict):
        control.resume(definition, START)
    with pytest.raises(Conflict):
        control.pause(definition, START + DAY)
    with pytest.raises(Conflict):
        control.pause(control.pause(definition, START), START)
    for number in (0, 1, 3):
        with pytest.raises(Invalid):
            control.skip_to(definition, number, START)
    with pytest.raises(NotFound):
        control.stop({"state": "ENABLED"}, START)


def test_instants_of_control_are_in_utc() -> None:
    paused = control.pause(ramp(1, 10), START)

    assert paused["plan"]["pausedAt"] == text_of(START) == "2026-12-01T09:00:00Z"
