"""The periods of a plan: from which second on a definition is how.

A linear plan moves in small steps of at least a percentage point, so that a rule stays small and
clients fetch seldom. A step never gives more than the straight line does while a percentage grows.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from itertools import zip_longest
from typing import Any

from msgspec import UNSET

from app.evaluation.plans.plan import DECIMALS_MAX, ReleasePlan, RolloutShare, Step, read_plan

# Small steps of all movements of a plan together, apart from one for each of its steps.
_MOVES_MAX = 100
_QUANTUM = Decimal(1).scaleb(-DECIMALS_MAX)


@dataclass(frozen=True, kw_only=True)
class Period:
    """The members of a definition from a second on, until the next period.

    `step` is the number of the step in force, 0 before the first one. `begins_step` says that the
    step begins with this period; otherwise its percentage moves.
    """

    begin: int
    step: int
    begins_step: bool
    state: Any
    default: Any
    targeting: Any
    rollout: RolloutShare | None


def periods(definition: Mapping[str, Any], plan: ReleasePlan) -> list[Period]:
    """Return the periods in order; the first is the definition before the plan.

    Steps after a hold that waits for an approval, or after a pause, have none.
    """
    all_periods = [*_moving(plan, _of_steps(definition, plan))]
    if plan.paused_at is None:
        return all_periods
    return [period for period in all_periods if period.begin <= plan.paused_at]


def period_at(all_periods: Sequence[Period], now: int) -> Period:
    return next(
        period for period in reversed(all_periods) if period.begin <= now or not period.step
    )


def step_begins(definition: Mapping[str, Any]) -> dict[int, int]:
    """Return the instant at which each step of a definition begins, as far as it is known."""
    plan = read_plan(definition)
    if plan is None:
        return {}
    return {period.step: period.begin for period in periods(definition, plan) if period.begins_step}


def remaining(plan: ReleasePlan) -> Iterator[Step]:
    """Yield the steps that are not skipped."""
    return (step for step in plan.steps if not step.is_skipped)


def _of_steps(definition: Mapping[str, Any], plan: ReleasePlan) -> list[Period]:
    """Return one period for each step that begins. A step inherits what it does not set."""
    period = Period(
        begin=0,
        step=0,
        begins_step=False,
        state=definition.get("state"),
        default=definition.get("defaultVariant"),
        targeting=definition.get("targeting"),
        rollout=None,
    )
    found = [period]
    for step in plan.steps:
        period = replace(
            period,
            state=step.state or period.state,
            default=period.default if step.default is UNSET else step.default,
            targeting=period.targeting if step.targeting is UNSET else step.targeting,
            rollout=step.rollout or period.rollout,
        )
        if step.is_skipped:
            continue
        begin = step.begins_at
        if begin is None:
            break
        found.append(replace(period, begin=begin, step=step.number, begins_step=True))
    return found


def _moving(plan: ReleasePlan, found: Sequence[Period]) -> Iterator[Period]:
    """Yield the periods of the steps, and those of the movements between them."""
    moves = [
        _Move.of(plan, period, after)
        for period, after in zip_longest(found, found[1:])
        if plan.is_linear and period.step
    ]
    size = max(Decimal(1), sum((move.distance for move in moves), Decimal(0)) / _MOVES_MAX)
    by_step = {move.period.step: move for move in moves}
    for period in found:
        yield period
        if period.step in by_step:
            yield from by_step[period.step].periods(size)


@dataclass(frozen=True, kw_only=True)
class _Move:
    """The movement of a percentage within the period of a step."""

    period: Period
    begin: int
    end: int
    start: Decimal
    target: Decimal

    @classmethod
    def of(cls, plan: ReleasePlan, period: Period, after: Period | None) -> "_Move":
        rollout, resumed = period.rollout, plan.steps[period.step - 1].resumed
        begin, start = period.begin, rollout.percent if rollout is not None else Decimal(0)
        if resumed is not None:
            begin, start = resumed.at, resumed.percent
        if after is None or not _moves_between(plan, period, after):
            return cls(period=period, begin=begin, end=begin, start=start, target=start)
        target = after.rollout.percent if after.rollout is not None else start
        return cls(period=period, begin=begin, end=after.begin, start=start, target=target)

    @property
    def distance(self) -> Decimal:
        return abs(self.target - self.start)

    def periods(self, size: Decimal) -> Iterator[Period]:
        rollout = self.period.rollout
        if rollout is None:
            return
        if self.begin > self.period.begin:
            # After a pause the percentage stays where it was.
            yield self._at(self.begin, self.start, rollout)
        count = int((self.distance / size).to_integral_value(ROUND_CEILING))
        count = min(count, self.end - self.begin)
        for position in range(1, count):
            # Rounded so that the percentage is never ahead of the line.
            begin = self.begin - (-position * (self.end - self.begin) // count)
            percent = self.start + (self.target - self.start) * position / count
            rounding = ROUND_FLOOR if self.target > self.start else ROUND_CEILING
            yield self._at(begin, percent.quantize(_QUANTUM, rounding), rollout)

    def _at(self, begin: int, percent: Decimal, rollout: RolloutShare) -> Period:
        rollout = replace(rollout, percent=percent)
        return replace(self.period, begin=begin, begins_step=False, rollout=rollout)


def _moves_between(plan: ReleasePlan, period: Period, after: Period) -> bool:
    """Return whether the percentage moves. Nothing moves towards a step that has a hold."""
    return (
        period.rollout is not None
        and after.rollout is not None
        and period.rollout.variant == after.rollout.variant
        and plan.steps[after.step - 1].hold is None
    )
