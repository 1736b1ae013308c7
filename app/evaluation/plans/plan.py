"""The plan of a definition as typed steps."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from msgspec import UNSET, UnsetType

from app.evaluation.plans import instants

PLAN = "plan"
STEPS_MAX = 50
HOLD_MINUTES_MAX = 7 * 24 * 60
APPROVAL = "approval"
# Percentages have at most 3 decimal places.
DECIMALS_MAX = 3


@dataclass(frozen=True, kw_only=True)
class RolloutShare:
    """A variant, and the percentage that it gets of the contexts that no rule catches."""

    variant: str
    percent: Decimal


@dataclass(frozen=True, kw_only=True)
class Resumption:
    """The point from which a linear plan moves after a pause inside of a step."""

    at: int
    percent: Decimal


@dataclass(frozen=True, kw_only=True)
class Step:
    """A step. `number` counts from 1. A skipped step begins together with the next one."""

    number: int
    at: int
    state: str | None
    default: str | UnsetType | None
    rollout: RolloutShare | None
    targeting: Any
    hold: str | int | None
    is_skipped: bool
    resumed: Resumption | None

    @property
    def begins_at(self) -> int | None:
        """The instant at which the step begins; None if it waits for an approval."""
        if self.hold == APPROVAL:
            return None
        return self.at + 60 * self.hold if isinstance(self.hold, int) else self.at


@dataclass(frozen=True, kw_only=True)
class ReleasePlan:
    name: str
    steps: Sequence[Step]
    is_linear: bool
    paused_at: int | None


def read_plan(definition: Mapping[str, Any]) -> ReleasePlan | None:
    """Return the plan of a definition; None without one, and for one that breaks its format.

    Only a lenient import, or a release without plans, stores a plan that breaks the format.
    """
    plan = definition.get(PLAN)
    if plan is None:
        return None
    try:
        steps = [_step(number, step) for number, step in enumerate(plan["steps"], start=1)]
        paused_at = plan.get("pausedAt")
        return ReleasePlan(
            name=str(plan.get("name", "")),
            steps=steps,
            is_linear=plan.get("linear") is True,
            paused_at=None if paused_at is None else instants.parse(paused_at),
        )
    except (AttributeError, KeyError, TypeError, ValueError, ArithmeticError):
        return None


def percent_of(number: float) -> Decimal:
    return Decimal(str(number))


def number_of(percent: Decimal) -> int | float:
    """Return a percentage as a JSON number."""
    return int(percent) if percent == int(percent) else float(percent)


def _step(number: int, step: Mapping[str, Any]) -> Step:
    rollout, resumed, hold = step.get("rollout"), step.get("resumed"), step.get("hold")
    if hold not in (None, APPROVAL) and type(hold) is not int:
        raise TypeError
    return Step(
        number=number,
        at=instants.parse(step["at"]),
        state=step.get("state"),
        default=step.get("defaultVariant", UNSET),
        rollout=None
        if rollout is None
        else RolloutShare(variant=rollout["variant"], percent=percent_of(rollout["percent"])),
        targeting=step.get("targeting", UNSET),
        hold=hold,
        is_skipped=step.get("skipped") is True,
        resumed=None
        if resumed is None
        else Resumption(at=instants.parse(resumed["at"]), percent=percent_of(resumed["percent"])),
    )
