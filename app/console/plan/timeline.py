"""The timeline of a plan: its state, its steps in words, and the curve of the percentage."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from app.console.plan.chart import PlanChart, chart_of
from app.evaluation.plans.periods import Period, periods
from app.evaluation.plans.plan import ReleasePlan, Step
from app.evaluation.plans.status import PlanStatus, Progress, status_of
from app.flags.plan_words import hold_words, status_words, step_words

# The badge of each state: its text, its style and its icon.
_BADGES = {
    Progress.WAITING: ("not begun", "", "clock"),
    Progress.RUNNING: ("running", "on", "play"),
    Progress.HELD: ("held", "warn", "lock"),
    Progress.PAUSED: ("paused", "warn", "clock"),
    Progress.DONE: ("done", "on", "circle-check"),
}


@dataclass(frozen=True, kw_only=True)
class StepRow:
    """A step. `state` is done, current, later or skipped. `at` is when it begins or began.

    `is_at_known` is false for a step that begins after an approval or a pause, thus not before
    `at`.
    """

    number: int
    state: str
    at: datetime
    is_at_known: bool
    words: Sequence[str]
    may_begin: bool


@dataclass(frozen=True, kw_only=True)
class Timeline:
    name: str
    badge: tuple[str, str, str]
    words: str
    next_at: datetime | None
    steps: Sequence[StepRow]
    chart: PlanChart | None
    actions: Sequence[str]


def timeline_of(definition: Mapping[str, Any], now: int) -> Timeline | None:
    """Return the timeline of a definition's plan, None without one that can be read."""
    status = status_of(definition, now)
    if status is None:
        return None
    plan = status.plan
    all_periods = periods(definition, plan)
    begins = {period.step: period.begin for period in all_periods if period.begins_step}
    return Timeline(
        name=plan.name,
        badge=_BADGES[status.progress],
        words=status_words(status),
        next_at=None if status.next_at is None else _time(status.next_at),
        steps=[_row(step, status, begins) for step in plan.steps],
        chart=_chart(plan, all_periods, now),
        actions=list(_actions(status)),
    )


def _row(step: Step, status: PlanStatus, begins: Mapping[int, int]) -> StepRow:
    begin = begins.get(step.number)
    is_later = step.number > status.step and not step.is_skipped
    return StepRow(
        number=step.number,
        state=_state(step, status.step),
        at=_time(step.at if begin is None else begin),
        is_at_known=begin is not None or step.is_skipped,
        words=[*step_words(step), *hold_words(step)],
        may_begin=is_later,
    )


def _state(step: Step, current: int) -> str:
    if step.is_skipped:
        return "skipped"
    if step.number == current:
        return "current"
    return "done" if step.number < current else "later"


def _chart(plan: ReleasePlan, all_periods: Sequence[Period], now: int) -> PlanChart | None:
    """Return the curve, None for a plan without a percentage.

    Steps whose instant is not known yet follow at the earliest one, as a thin line.
    """
    if not any(step.rollout for step in plan.steps):
        return None
    points = [
        (period.begin, float(period.rollout.percent) if period.rollout else 0.0)
        for period in all_periods
        if period.step
    ]
    return chart_of(points, list(_possible(plan, all_periods[-1], now)), now)


def _possible(plan: ReleasePlan, last: Period, now: int) -> Iterator[tuple[int, float]]:
    """Yield the steps that begin when a person approves or continues, at the earliest instant."""
    begin = max(last.begin, now)
    percent = float(last.rollout.percent) if last.rollout else 0.0
    for step in plan.steps[last.step :]:
        if step.is_skipped:
            continue
        begin = max(begin, step.at)
        percent = float(step.rollout.percent) if step.rollout else percent
        yield begin, percent


def _actions(status: PlanStatus) -> Iterator[str]:
    if status.progress in (Progress.PAUSED, Progress.HELD):
        yield "continue"
    if status.progress not in (Progress.PAUSED, Progress.DONE):
        yield "pause"
    if status.step:
        yield "finish"
    yield "return"


def _time(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
