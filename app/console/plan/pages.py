"""The page of a plan: its timeline, a forecast, and the editor; or one of these parts."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import msgspec
from aiohttp import web

from app.configuration.snapshots.snapshot import Configuration
from app.console.entry_drafts import PendingChange, pending_change, view_of
from app.console.flag.conflict import FlagConflict
from app.console.flag.editor import head_data
from app.console.flag.views import flag_in
from app.console.forms import FormErrors
from app.console.pages import is_fragment
from app.console.plan.control import ACTIONS
from app.console.plan.draft import HOLDS, NO_DEFAULT, PlanDraft, errors_of, plan_of
from app.console.plan.forecast import forecast
from app.console.plan.timeline import timeline_of
from app.console.rendering import page
from app.console.state import EnvironmentState, with_zone
from app.errors import Invalid
from app.evaluation.plans import instants
from app.evaluation.plans.plan import PLAN
from app.evaluation.validation import check_flag
from app.flags.plan_templates import TEMPLATES
from app.threads import in_turn


@dataclass(frozen=True, kw_only=True)
class EditorResult:
    """The result of an action in the editor. `typed` is the confirmation, `focus` a field."""

    errors: FormErrors = field(default_factory=FormErrors)
    conflict: FlagConflict | None = None
    focus: str = ""
    typed: str = ""
    status: int = 200


async def plan_page(
    request: web.Request,
    state: EnvironmentState,
    base: Configuration,
    draft: PlanDraft,
    result: EditorResult | None = None,
    *,
    part: str = "plan/_editor.html",
) -> web.Response:
    """Return the whole page, or for htmx one part. `base` is the flag from which a draft began."""
    current = flag_in(state.snapshot, base.key) or base
    result = result or EditorResult()
    drafted = drafted_value(base.value, draft)
    problems = errors_of(Invalid("field_invalid", "", check_flag(drafted))).by_field
    definition = _object(current.value)
    data: dict[str, Any] = {
        **await head_data(request, state, current),
        "draft": draft,
        "variants": list(_object(definition.get("variants"))),
        "templates": TEMPLATES,
        "holds": HOLDS,
        "no_default": NO_DEFAULT,
        "errors": result.errors,
        "problems": problems if drafted != base.value else {},
        "is_refused": result.status >= 400,
        "conflict": result.conflict,
        "has_plan": PLAN in definition,
        "focus": result.focus or next(iter(result.errors.by_field), ""),
        "typed": result.typed,
        "pending": await _pending(base, drafted),
        "drafted": None if problems else timeline_of(drafted, int(time.time())),
    }
    if is_fragment(request):
        return page(request, part, state=state, status=result.status, **data)
    timeline = timeline_of(definition, int(time.time()))
    data |= await _forecast(request, state, current) if timeline is not None else {}
    return page(
        request,
        "plan/page.html",
        state=state,
        status=result.status,
        view="plan",
        timeline=timeline,
        actions=ACTIONS,
        is_open=request.method == "POST",
        **data,
    )


def drafted_value(value: Any, draft: PlanDraft) -> Any:
    """Return a definition with the plan of the draft. Without steps, none is added to it."""
    if not isinstance(value, dict) or not (draft.steps or PLAN in value):
        return value
    return {**value, PLAN: plan_of(draft)}


async def _pending(base: Configuration, drafted: Any) -> PendingChange:
    before = view_of(base)
    return await pending_change(base.key, before, msgspec.structs.replace(before, value=drafted))


async def _forecast(
    request: web.Request, state: EnvironmentState, entry: Configuration
) -> dict[str, Any]:
    """Return the outcomes at the time of the query, or why it is no time."""
    when = request.query.get("when", "")
    data: dict[str, Any] = {"when": with_zone(when), "when_error": "", "forecast": None}
    flag = state.snapshot.rules.flags.get(entry.key)
    if not when or flag is None:
        return data
    try:
        at = datetime.fromtimestamp(instants.parse(with_zone(when)), UTC)
    except instants.InstantError as error:
        return data | {"when_error": f"It {error}."}
    now = datetime.now(UTC)
    data["forecast"] = await in_turn("forecast", lambda: forecast(flag, entry.value, at, now))
    return data


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
