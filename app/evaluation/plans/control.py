"""Control a plan: each function returns the definition that a change set stores.

The result has instants, so an evaluation needs no other state. All raise Conflict if the plan is in
another state, and NotFound for a definition without a plan.
"""

import copy
from collections.abc import Mapping
from typing import Any

from app.errors import Conflict, NotFound, invalid
from app.evaluation.plans.compiling import definition_at
from app.evaluation.plans.instants import SECONDS_END, text_of
from app.evaluation.plans.plan import PLAN, number_of
from app.evaluation.plans.status import PlanStatus, Progress, status_of

Definition = dict[str, Any]


def pause(definition: Mapping[str, Any], now: int) -> Definition:
    """Stop the plan at an instant. The step in force stays, also within a linear movement."""
    status = _status(definition, now)
    if status.plan.paused_at is not None:
        raise _conflict("The plan is paused already.")
    if status.progress is Progress.DONE:
        raise _conflict("The last step of the plan has begun. There is nothing to pause.")
    changed = _copy(definition)
    changed[PLAN]["pausedAt"] = text_of(now)
    return changed


def resume(definition: Mapping[str, Any], now: int) -> Definition:
    """Continue a plan that is paused or held.

    After a pause, all later steps move by its duration, and a linear movement goes on from the
    percentage at which it was. After a hold, the held step begins, and later steps move with it.
    """
    status = _status(definition, now)
    changed = _copy(definition)
    steps, plan = changed[PLAN]["steps"], status.plan
    if plan.paused_at is not None:
        del changed[PLAN]["pausedAt"]
        late = max(0, now - plan.paused_at)
        for step in plan.steps:
            if step.number > status.step and (step.begins_at or step.at) > plan.paused_at:
                _move(steps[step.number - 1], step.at + late)
        if plan.is_linear and status.step and status.rollout is not None and late:
            percent = number_of(status.rollout.percent)
            steps[status.step - 1]["resumed"] = {"at": text_of(now), "percent": percent}
        return changed
    if status.progress is not Progress.HELD or status.next_step is None:
        raise _conflict("The plan is not paused, and no step is held.")
    return _begun(changed, status, status.next_step, now)


def skip_to(definition: Mapping[str, Any], number: int, now: int) -> Definition:
    """Begin a later step now. The steps before it do not begin, and those after it move with it."""
    status = _status(definition, now)
    if not status.step < number <= len(status.plan.steps):
        rule = f"must be a step after step {status.step}" if status.step else "must be a step"
        raise invalid("step", f"{rule}, up to {len(status.plan.steps)}")
    if status.plan.steps[number - 1].is_skipped:
        raise invalid("step", "must not be a step that was skipped")
    changed = _copy(definition)
    changed[PLAN].pop("pausedAt", None)
    for step in status.plan.steps[status.step : number - 1]:
        changed[PLAN]["steps"][step.number - 1]["skipped"] = True
    return _begun(changed, status, number, now)


def stop(definition: Mapping[str, Any], now: int) -> Definition:
    """Remove the plan: the flag is as it was before it."""
    _status(definition, now)
    return {name: member for name, member in definition.items() if name != PLAN}


def finish(definition: Mapping[str, Any], now: int) -> Definition:
    """Replace the plan by the definition in force."""
    _status(definition, now)
    return dict(definition_at(definition, now))


def _begun(changed: Definition, status: PlanStatus, number: int, now: int) -> Definition:
    """Begin a step now, and move all later steps by the same time."""
    steps, chosen = changed[PLAN]["steps"], status.plan.steps[number - 1]
    planned = chosen.at if chosen.begins_at is None else chosen.begins_at
    steps[number - 1].pop("hold", None)
    _move(steps[number - 1], now)
    for step in status.plan.steps[number:]:
        _move(steps[step.number - 1], step.at + now - planned)
    return changed


def _move(step: dict[str, Any], at: int) -> None:
    if at >= SECONDS_END:
        raise _conflict("A step would begin after the year 9999. Change the plan.")
    step["at"] = text_of(at)


def _copy(definition: Mapping[str, Any]) -> Definition:
    return {**definition, PLAN: copy.deepcopy(definition[PLAN])}


def _status(definition: Mapping[str, Any], now: int) -> PlanStatus:
    status = status_of(definition, now)
    if status is None:
        raise NotFound("plan_unknown", "The flag has no plan.")
    return status


def _conflict(message: str) -> Conflict:
    return Conflict("plan_state", message)
