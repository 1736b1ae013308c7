"""The controls of a plan: pause, continue, skip, finish, and stop and return."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from app.configuration.changes.requests import PutOperation
from app.configuration.snapshots.reading import own_snapshot
from app.configuration.snapshots.snapshot import Configuration
from app.console.confirmation import FIELD
from app.console.entry_pages import leave, read_version
from app.console.flag.views import head_of, require_flag
from app.console.forms import FormErrors, read_form
from app.console.pages import is_fragment
from app.console.rendering import frame, page
from app.console.saving import save
from app.console.state import EnvironmentState
from app.errors import AppError, Conflict, Invalid, NotFound, Stale, malformed
from app.evaluation.plans import control
from app.evaluation.plans.compiling import definition_at
from app.flags.editing import Definition
from app.flags.wording import describe


@dataclass(frozen=True, kw_only=True)
class PlanAction:
    """A control: its title, the text of its button, its icon, and the sentence of its effect."""

    title: str
    short: str
    image: str
    effect: str
    run: Callable[[Mapping[str, Any], int], Definition]


ACTIONS = {
    "pause": PlanAction(
        title="Pause the plan",
        short="Pause",
        image="minus",
        effect="The flag stays as it is now. Later steps wait, and move by the time of the pause.",
        run=control.pause,
    ),
    "continue": PlanAction(
        title="Continue the plan",
        short="Continue",
        image="play",
        effect="A step that waits for an approval begins now. After a pause, the steps that are "
        "left move by its length.",
        run=control.resume,
    ),
    "finish": PlanAction(
        title="Finish the plan",
        short="Finish",
        image="check",
        effect="The flag stays as it is now, and the plan is removed.",
        run=control.finish,
    ),
    "return": PlanAction(
        title="Stop and return",
        short="Stop and return",
        image="undo-2",
        effect="The plan is removed, and the flag serves what it served before the plan.",
        run=control.stop,
    ),
}
SKIP = "skip"
_STEP_DIGITS_MAX = 4


async def get_plan_control(request: web.Request) -> web.Response:
    """Show what a control would do, and ask for a message."""
    state, entry = _current(request)
    return await _control_page(request, state, entry)


async def post_plan_control(request: web.Request) -> web.Response:
    """Control the plan as `flag plan` does, by a change set."""
    form = await read_form(request)
    state, entry = _current(request)
    action = _action(request)
    message = form.get("message", "")
    try:
        operation = PutOperation(
            key=entry.key,
            version=read_version(form),
            value=action.run(_definition(entry), int(time.time())),
            kind="flag",
            schema=entry.schema,
            description=entry.description,
        )
        written = await save(request, [operation], message, confirmation=form)
    except (Invalid, Conflict, Stale) as error:
        return await _control_page(
            request,
            state,
            entry,
            errors=FormErrors.of(error),
            message=message,
            typed=form.get(FIELD, ""),
        )
    revision = written.change_sets[0].revision
    address = frame(request, state).url("flags", entry.key, view="plan", saved=revision)
    return leave(request, address)


def _current(request: web.Request) -> tuple[EnvironmentState, Configuration]:
    name, key = request.match_info["environment"], request.match_info["key"]
    state = EnvironmentState(snapshot=own_snapshot(request, name))
    return state, require_flag(state.snapshot, key)


def _definition(entry: Configuration) -> Mapping[str, Any]:
    if not isinstance(entry.value, dict):
        raise NotFound("plan_unknown", "The flag has no plan.")
    return entry.value


def _action(request: web.Request) -> PlanAction:
    """Return the control that the query names. Raises Malformed."""
    name, step = request.query.get("action", ""), request.query.get("step", "")
    if name in ACTIONS:
        return ACTIONS[name]
    if name != SKIP:
        raise malformed("action", f"must be one of {', '.join([*ACTIONS, SKIP])}")
    if not (step.isascii() and step.isdecimal() and len(step) <= _STEP_DIGITS_MAX):
        raise malformed("step", "must be the number of a step")
    number = int(step)
    return PlanAction(
        title=f"Skip to step {number}",
        short="Skip",
        image="chevron-right",
        effect=f"Step {number} begins now. The steps before it do not begin, and those after it "
        "move with it.",
        run=lambda definition, now: control.skip_to(definition, number, now),
    )


async def _control_page(
    request: web.Request,
    state: EnvironmentState,
    entry: Configuration,
    *,
    errors: FormErrors | None = None,
    message: str = "",
    typed: str = "",
) -> web.Response:
    action = _action(request)
    now = int(time.time())
    after: list[str] = []
    problem: AppError | None = None
    try:
        after = list(describe(definition_at(action.run(_definition(entry), now), now)))
    except (Invalid, Conflict, NotFound) as error:
        problem = error
    return page(
        request,
        "plan/_control.html" if is_fragment(request) else "plan/control.html",
        state=state,
        status=422 if errors else 200,
        head=head_of(entry.key, entry),
        action=action,
        query={name: request.query[name] for name in ("action", "step") if name in request.query},
        is_removal=action is ACTIONS["return"],
        after=after,
        problem="" if problem is None else problem.message,
        message=message,
        typed=typed,
        errors=errors,
    )
