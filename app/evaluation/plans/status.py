"""Where a plan is at an instant."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from app.evaluation.plans.periods import period_at, periods, remaining
from app.evaluation.plans.plan import APPROVAL, ReleasePlan, RolloutShare, Step, read_plan


class Progress(StrEnum):
    """`held` waits for an approval, or for the minutes of a hold."""

    WAITING = "waiting"
    RUNNING = "running"
    HELD = "held"
    PAUSED = "paused"
    DONE = "done"


@dataclass(frozen=True, kw_only=True)
class PlanStatus:
    """A plan at an instant.

    `step` is the number of the step in force, 0 before the first. `next_step` is the number of the
    following one, and `next_at` the instant at which it begins, None while that is not known.
    `changes_at` is the next instant at which the definition changes: a small step of a linear plan,
    or `next_at`.
    """

    plan: ReleasePlan
    progress: Progress
    step: int
    rollout: RolloutShare | None
    next_step: int | None
    next_at: int | None
    changes_at: int | None

    @property
    def waits_for_approval(self) -> bool:
        """Whether the next step has a hold that only an approval ends."""
        return self.next_step is not None and self.plan.steps[self.next_step - 1].hold == APPROVAL


def status_of(definition: Mapping[str, Any], now: int) -> PlanStatus | None:
    """Return where the plan of a definition is; None without a valid plan."""
    plan = read_plan(definition)
    if plan is None:
        return None
    all_periods = periods(definition, plan)
    period = period_at(all_periods, now)
    following = next((step for step in remaining(plan) if step.number > period.step), None)
    next_at = following.begins_at if following is not None else None
    if next_at is not None and plan.paused_at is not None and next_at > plan.paused_at:
        next_at = None
    return PlanStatus(
        plan=plan,
        progress=_progress(plan, period.step, following, now),
        step=period.step,
        rollout=period.rollout,
        next_step=None if following is None else following.number,
        next_at=next_at,
        changes_at=next((p.begin for p in all_periods if p.begin > now), None),
    )


def _progress(plan: ReleasePlan, step: int, following: Step | None, now: int) -> Progress:
    if following is None:
        return Progress.DONE
    if plan.paused_at is not None and plan.paused_at <= now:
        return Progress.PAUSED
    if following.hold is not None and following.at <= now:
        return Progress.HELD
    return Progress.RUNNING if step else Progress.WAITING
