"""Say in words what a plan does, for the console and the command line."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from msgspec import UNSET

from app.evaluation.plans.plan import APPROVAL, RolloutShare, Step, number_of
from app.evaluation.plans.status import PlanStatus, Progress, status_of
from app.names import counted

_PROGRESS = {
    Progress.WAITING: "not begun",
    Progress.RUNNING: "running",
    Progress.HELD: "held",
    Progress.PAUSED: "paused",
    Progress.DONE: "done",
}
_STATES = {"ENABLED": "enables the flag", "DISABLED": "disables the flag"}


def step_words(step: Step) -> Iterator[str]:
    """Yield what a step changes, in short."""
    if step.state is not None:
        yield _STATES.get(step.state, step.state)
    if step.rollout is not None:
        yield rollout_words(step.rollout)
    if step.default is not UNSET:
        yield f"default variant {step.default or 'none'}"
    if step.targeting is not UNSET:
        yield "replaces the rules"
    if step.is_skipped:
        yield "was skipped"


def hold_words(step: Step) -> Iterator[str]:
    """Yield the condition for the begin of a step, if it has one."""
    if step.hold == APPROVAL:
        yield "waits for an approval before it begins"
    elif isinstance(step.hold, int):
        yield f"waits {counted(step.hold, 'minute')} before it begins"


def rollout_words(rollout: RolloutShare) -> str:
    return f"{rollout.variant} for {number_of(rollout.percent)} %"


class PlanMark(NamedTuple):
    """Where a plan is, in one line. It changes at `changes_at`, in Unix seconds, if that is known.

    A plan that waits for a person has `is_waiting`.
    """

    line: str
    is_done: bool
    is_waiting: bool
    changes_at: int | None


def plan_mark(definition: Mapping[str, Any], now: int) -> PlanMark | None:
    """Return where the plan of a definition is; None without a plan."""
    status = status_of(definition, now)
    if status is None:
        return None
    place = f"step {status.step} of {len(status.plan.steps)}"
    return PlanMark(
        line=f"Plan {status.plan.name}: {_PROGRESS[status.progress]}, {place}",
        is_done=status.progress is Progress.DONE,
        is_waiting=status.progress in (Progress.HELD, Progress.PAUSED),
        changes_at=_changes_at(status, now),
    )


def _changes_at(status: PlanStatus, now: int) -> int | None:
    """Return the next instant at which the plan is elsewhere: also the begin of a hold."""
    following = None if status.next_step is None else status.plan.steps[status.next_step - 1].at
    instants = (status.changes_at, following, status.plan.paused_at)
    return min((at for at in instants if at is not None and at > now), default=None)


def status_words(status: PlanStatus) -> str:
    """Return a sentence on where a plan is."""
    count = len(status.plan.steps)
    if not status.step:
        place = f"None of {counted(count, 'step')} has begun."
    else:
        served = f": {rollout_words(status.rollout)}" if status.rollout is not None else ""
        place = f"Step {status.step} of {count}{served}."
    return f"{place} {_next_words(status)}".rstrip()


def _next_words(status: PlanStatus) -> str:
    number = status.next_step
    match status.progress:
        case Progress.DONE:
            return "The last step has begun."
        case Progress.PAUSED:
            return f"Paused before step {number}: nothing changes until you continue."
        case Progress.HELD if status.waits_for_approval:
            return f"Step {number} waits for an approval: continue the plan to begin it."
        case Progress.HELD:
            return f"Step {number} waits for the end of its minutes."
        case _:
            return ""
