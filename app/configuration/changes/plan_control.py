"""Pause, continue, skip, stop and finish a plan by a change set."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from enum import StrEnum
from typing import Any

from app.configuration.changes import service
from app.configuration.changes.authority import Authority
from app.configuration.changes.models import ChangeSet, Kind, Operation
from app.configuration.changes.plan_steps import planned
from app.configuration.changes.rows import lock_entries
from app.database import Connection
from app.errors import NotFound, invalid
from app.evaluation.plans import control
from app.evaluation.plans.plan import PLAN
from app.http.conditions import ExpectedVersion


class PlanCommand(StrEnum):
    """`return` removes the plan. `finish` stores the definition in force without the plan."""

    PAUSE = "pause"
    CONTINUE = "continue"
    SKIP = "skip"
    RETURN = "return"
    FINISH = "finish"


_ACTIONS: Mapping[
    PlanCommand, tuple[Callable[[Mapping[str, Any], int], control.Definition], str]
] = {
    PlanCommand.PAUSE: (control.pause, "Pause {}"),
    PlanCommand.CONTINUE: (control.resume, "Continue {}"),
    PlanCommand.RETURN: (control.stop, "Return to before {}"),
    PlanCommand.FINISH: (control.finish, "Finish {}"),
}


async def control_plan(  # noqa: PLR0913 - all but four by name
    connection: Connection,
    environment: str,
    key: str,
    action: PlanCommand,
    *,
    step: int | None = None,
    expected: ExpectedVersion | None,
    actor: str,
    message: str = "",
    authority: Authority,
) -> ChangeSet:
    """Write the change set of an action, with the time of the database.

    `step` is the number of the step to skip to. Raises as `service.apply`, NotFound for a flag
    without a plan, and Conflict if the plan is in another state.
    """
    if (step is None) is (action is PlanCommand.SKIP):
        raise invalid("step", "must be given to skip, and for no other action")
    locked = await lock_entries(connection, environment, [key])
    entry = locked.entries[key]
    if entry.content is None or entry.content.kind is not Kind.FLAG:
        raise NotFound("flag_unknown", "There is no such flag.")
    # A change set checks it again, but a stale caller must not get an error about the plan.
    unchanged = Operation(key=key, content=entry.content, expected=expected)
    service.check_versions([unchanged], locked.entries, locked.environment.epoch)
    definition, now = planned(entry.content) or {}, int(locked.created_at.timestamp())
    if step is not None:
        changed, text = control.skip_to(definition, step, now), f"Skip to step {step} of {{}}"
    else:
        act, text = _ACTIONS[action]
        changed = act(definition, now)
    operation = replace(unchanged, content=replace(entry.content, value=changed))
    return await service.apply(
        connection,
        environment,
        [operation],
        actor=actor,
        message=message or text.format(definition[PLAN]["name"]),
        authority=authority,
    )
