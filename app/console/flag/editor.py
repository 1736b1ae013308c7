"""The page with the editor of a flag, or for htmx the form alone."""

from functools import partial
from typing import Any

from aiohttp import web

from app.configuration.snapshots.snapshot import Configuration
from app.console.actors import actor_name
from app.console.flag import editor_tools
from app.console.flag.actions import ActionEffect, fit
from app.console.flag.conflict import FlagConflict, read_conflict
from app.console.flag.definition import DraftResult, advanced_reason, definition_of
from app.console.flag.draft import FlagDraft
from app.console.flag.pending import pending_changes
from app.console.flag.views import VIEWS, editor_names, flag_in, head_of, tabs_of
from app.console.forms import FormErrors
from app.console.pages import is_fragment
from app.console.rendering import frame, page
from app.console.state import EnvironmentState


async def editor_page(
    request: web.Request,
    state: EnvironmentState,
    entry: Configuration,
    draft: FlagDraft,
    *,
    effect: ActionEffect | None = None,
    conflict: FlagConflict | None = None,
    errors: FormErrors | None = None,
    status: int = 200,
) -> web.Response:
    """Return the page with the editor, or for htmx the form alone."""
    fit(draft)
    current = flag_in(state.snapshot, entry.key)
    if conflict is None and (current is None or current.version > entry.version):
        conflict = await read_conflict(request, entry)
    result = definition_of(draft, entry.value)
    data: dict[str, Any] = {
        **head_data(request, state, entry),
        "view": "json" if draft.view == "json" else "targeting",
        "draft": draft,
        "announcement": effect.text if effect else "",
        "focus": effect.focus if effect else "",
        "conflict": conflict,
        "is_fragment": is_fragment(request),
        "errors": errors or errors_of(result),
        "pending": pending_changes(entry, result),
        "names": await editor_names(state.snapshot),
        "advanced": advanced_reason(entry.value) if draft.view == "json" else None,
    }
    if is_fragment(request):
        headers = {"HX-Trigger-After-Settle": "draft-changed"}
        return page(
            request,
            "flag/editor_fragment.html",
            state=state,
            status=status,
            headers=headers,
            **data,
        )
    return page(request, "flag/editor.html", state=state, status=status, **data)


def errors_of(result: DraftResult) -> FormErrors:
    return FormErrors("", result.errors)


def head_data(
    request: web.Request, state: EnvironmentState, entry: Configuration
) -> dict[str, Any]:
    environments = frame(request, state).environments
    return {
        "head": head_of(entry.key, entry),
        "tabs": list(tabs_of(request, entry.key, environments)),
        "views": VIEWS,
        "tools": editor_tools,
        "is_fragment": False,
        "actor_name": partial(actor_name, request),
    }
