"""The tab Plan of a flag's page, and the form of its editor."""

from datetime import UTC, datetime, timedelta

from aiohttp import web

from app.configuration.changes.requests import PutOperation
from app.configuration.snapshots.snapshot import Configuration
from app.console.confirmation import FIELD
from app.console.entry_pages import leave
from app.console.flag.conflict import read_base, read_conflict
from app.console.flag.forms import parse_as
from app.console.flag.views import require_flag
from app.console.forms import Form, FormErrors, read_form
from app.console.plan.draft import DraftStep, PlanDraft, draft_of, draft_step, errors_of
from app.console.plan.pages import EditorResult, drafted_value, plan_page
from app.console.rendering import frame
from app.console.saving import save
from app.console.state import EnvironmentState, read_state, with_zone
from app.errors import Conflict, Invalid, NotFound, Stale, invalid
from app.evaluation.plans import instants
from app.flags.plan_templates import plan_from

# A new step begins this long after the one before it.
_STEP_LATER = timedelta(days=1)


async def get_plan(
    request: web.Request, state: EnvironmentState, entry: Configuration
) -> web.Response:
    """Show the plan of a flag, and the editor."""
    return await plan_page(request, state, entry, draft_of(entry.value, entry.version))


async def post_plan_draft(request: web.Request) -> web.Response:
    """Change the draft of a plan by a button, save it, or show its pending changes."""
    form = await read_form(request)
    state = await read_state(request)
    entry = require_flag(state.snapshot, request.match_info["key"])
    draft = parse_as(form.items(), PlanDraft)
    base = await read_base(request, entry, draft.version)
    if not isinstance(base.value, dict):
        raise NotFound("plan_unknown", "A flag whose definition is no object has no plan.")
    if request.query.get("part") == "pending":
        return await plan_page(request, state, base, draft, part="plan/_pending.html")
    action = form.get("action") or request.query.get("action", "check")
    if action == "discard":
        return leave(request, frame(request, state).url("flags", entry.key, view="plan"))
    if action == "save":
        return await _save(request, state, base, draft, form)
    try:
        result = EditorResult(focus=_act(draft, action))
    except Invalid as error:
        result = EditorResult(errors=FormErrors.of(error))
    return await plan_page(request, state, base, draft, result)


def _act(draft: PlanDraft, action: str) -> str:
    """Change the draft, and return the field that gets the focus. Raises Invalid."""
    name, _, position = action.partition(" ")
    if name == "add":
        draft.steps.append(_next_step(draft))
        return f"steps.{len(draft.steps) - 1}.at"
    if name == "remove" and position.isascii() and position.isdecimal():
        # An unknown position is a step that was removed already.
        del draft.steps[int(position[:4]) : int(position[:4]) + 1]
        return "add"
    if name == "template":
        _apply_template(draft)
        return "steps.0.at"
    return ""


def _next_step(draft: PlanDraft) -> DraftStep:
    """Return a step a day after the last one, with its variant."""
    last = draft.steps[-1] if draft.steps else DraftStep(variant=draft.variant)
    try:
        begin = instants.parse(with_zone(last.at)) + int(_STEP_LATER.total_seconds())
    except instants.InstantError:
        begin = int(datetime.now(UTC).timestamp())
    return DraftStep(at=instants.text_of(begin), variant=last.variant)


def _apply_template(draft: PlanDraft) -> None:
    try:
        start = instants.parse(with_zone(draft.start)) if draft.start else None
    except instants.InstantError as error:
        raise invalid("start", str(error)) from None
    now = datetime.now(UTC).replace(second=0)
    moment = now if start is None else datetime.fromtimestamp(start, UTC)
    plan = plan_from(draft.template, moment, draft.variant)
    draft.name, draft.linear = plan["name"], plan.get("linear", False)
    draft.steps = [draft_step(step) for step in plan["steps"]]


async def _save(
    request: web.Request, state: EnvironmentState, base: Configuration, draft: PlanDraft, form: Form
) -> web.Response:
    definition = drafted_value(base.value, draft)
    if definition == base.value:
        errors = FormErrors("Nothing has changed, so nothing was written.")
        return await plan_page(request, state, base, draft, EditorResult(errors=errors))
    operation = PutOperation(
        key=base.key,
        version=base.version,
        value=definition,
        kind="flag",
        schema=base.schema,
        description=base.description,
    )
    try:
        written = await save(request, [operation], draft.message, confirmation=form)
    except Stale:
        result = await _conflict(request, base, draft)
    except (Invalid, Conflict) as error:
        result = EditorResult(errors=errors_of(error), typed=form.get(FIELD, ""), status=422)
    else:
        revision = written.change_sets[0].revision
        address = frame(request, state).url("flags", base.key, view="plan", saved=revision)
        return leave(request, address)
    return await plan_page(request, state, base, draft, result)


async def _conflict(request: web.Request, base: Configuration, draft: PlanDraft) -> EditorResult:
    """Show what others changed. The next attempt puts the plan on top of their changes."""
    conflict = await read_conflict(request, base)
    if conflict.theirs is not None:
        draft.version = conflict.theirs.version
    return EditorResult(conflict=conflict, status=409)
