"""The page of a flag: reading it, editing its draft, saving it."""

from typing import Any

from aiohttp import web

from app.configuration.changes.history import key_history
from app.configuration.changes.requests import PutOperation
from app.configuration.snapshots.snapshot import Configuration
from app.console.flag import editor_tools
from app.console.flag.actions import act, fit
from app.console.flag.definition import DraftResult, advanced_reason, definition_of, draft_of
from app.console.flag.draft import FlagDraft
from app.console.flag.field_paths import by_field
from app.console.flag.forms import parse
from app.console.flag.pending import pending_changes
from app.console.flag.sentences import rule_sentences
from app.console.flag.views import VIEWS, editor_names, flag_in, head_of, tabs_of
from app.console.forms import FormErrors, read_form
from app.console.pages import is_fragment, redirect
from app.console.rendering import frame, page
from app.console.saving import save
from app.console.state import EnvironmentState, read_state
from app.errors import Conflict, Invalid, NotFound, Stale
from app.http.keys import DATABASE

_HISTORY_MAX = 100


async def get_flag(request: web.Request) -> web.Response:
    """Show a flag: its targeting, or the view that the query names."""
    state = await read_state(request)
    key = request.match_info["key"]
    entry = flag_in(state.snapshot, key)
    if entry is None:
        return _missing(request, state)
    view = request.query.get("view", "targeting")
    view = view if view in VIEWS else "targeting"
    data = _head_data(request, state, entry) | {"view": view}
    if view not in ("targeting", "json"):
        return page(request, "flag/part.html", state=state, **data)
    if not frame(request, state).may_write:
        sentences = rule_sentences(entry.value)
        return page(request, "flag/read_only.html", state=state, sentences=sentences, **data)
    draft = draft_of(
        entry.value, entry.description, entry.version, view="json" if view == "json" else "rules"
    )
    return await _editor(request, state, entry, draft)


async def post_draft(request: web.Request) -> web.Response:
    """Change the draft by a button, save it, or show its pending changes. Stores nothing else."""
    form = await read_form(request)
    state = await read_state(request)
    entry = flag_in(state.snapshot, request.match_info["key"])
    if entry is None:
        return _missing(request, state)
    draft = parse(form.items())
    base = await _base(request, entry, draft.version)
    action = form.get("action", "check")
    if action == "save":
        return await _save(request, state, base, draft)
    if action == "discard":
        return _leave(request, frame(request, state).url("flags", entry.key))
    if request.query.get("part") == "pending":
        result = definition_of(draft, base.value)
        pending = pending_changes(base.value, base.description, result)
        return page(
            request,
            "flag/_pending_changes.html",
            state=state,
            pending=pending,
            errors=_errors(result),
            tools=editor_tools,
        )
    effect_text, focus, refusal = "", "", None
    if action in ("view rules", "view json"):
        draft, refusal = _in_view(draft, base, action.removeprefix("view "))
    else:
        try:
            effect = act(draft, action)
        except Invalid as error:
            refusal = FormErrors.of(error)
        else:
            effect_text, focus = effect.text, effect.focus
    return await _editor(
        request, state, base, draft, announcement=effect_text, focus=focus, errors=refusal
    )


def _in_view(
    draft: FlagDraft, base: Configuration, view: str
) -> tuple[FlagDraft, FormErrors | None]:
    """Show the draft as rules or as JSON. A draft with errors stays as it is."""
    result = definition_of(draft, base.value)
    if result.errors:
        return draft, _errors(result)
    if view == "rules" and (reason := advanced_reason(result.definition)) is not None:
        return draft, FormErrors(f"The rules cannot show this definition: {reason}")
    changed = draft_of(result.definition, result.description, draft.version, view=view)
    changed.message = draft.message
    return changed, None


async def _base(request: web.Request, entry: Configuration, version: int) -> Configuration:
    """Return the flag at the version from which a draft began. Raises NotFound."""
    if entry.version == version:
        return entry
    environment = request.match_info["environment"]
    async with request.app[DATABASE].connection() as connection:
        history = await key_history(connection, environment, entry.key, limit=_HISTORY_MAX)
    for change in history.items:
        if change.after is not None and change.after.version == version:
            return Configuration(
                environment=environment,
                key=entry.key,
                kind=change.after.kind,
                value=change.after.value,
                schema=change.after.schema,
                description=change.after.description,
                version=version,
                updated_revision=change.revision,
                created_at=entry.created_at,
                updated_at=change.created_at,
            )
    raise NotFound(
        "version_unknown", f"Version {version} is not among the last {_HISTORY_MAX} of this flag."
    )


async def _save(
    request: web.Request, state: EnvironmentState, base: Configuration, draft: FlagDraft
) -> web.Response:
    result = definition_of(draft, base.value)
    if result.errors:
        return await _editor(request, state, base, draft, errors=_errors(result), status=422)
    if not pending_changes(base.value, base.description, result).is_changed:
        errors = FormErrors("Nothing has changed, so nothing was written.")
        return await _editor(request, state, base, draft, errors=errors)
    operation = PutOperation(
        key=base.key,
        version=base.version,
        value=result.definition,
        kind="flag",
        schema=base.schema,
        description=result.description,
    )
    try:
        written = await save(request, [operation], draft.message)
    except (Invalid, Conflict, Stale) as error:
        errors = by_field(error, draft)
        return await _editor(request, state, base, draft, errors=errors, status=422)
    revision = written.change_sets[0].revision
    return _leave(request, frame(request, state).url("flags", base.key, saved=revision))


def _leave(request: web.Request, location: str) -> web.Response:
    """Lead to a page. htmx follows its own header, because a redirect would fill the form."""
    if is_fragment(request):
        return web.Response(headers={"HX-Redirect": location})
    return redirect(location)


async def _editor(
    request: web.Request,
    state: EnvironmentState,
    entry: Configuration,
    draft: FlagDraft,
    *,
    announcement: str = "",
    focus: str = "",
    errors: FormErrors | None = None,
    status: int = 200,
) -> web.Response:
    """Return the page with the editor, or for htmx the form alone."""
    fit(draft)
    result = definition_of(draft, entry.value)
    data: dict[str, Any] = {
        **_head_data(request, state, entry),
        "view": "json" if draft.view == "json" else "targeting",
        "draft": draft,
        "announcement": announcement,
        "focus": focus,
        "errors": errors or _errors(result),
        "pending": pending_changes(entry.value, entry.description, result),
        "names": await editor_names(state.snapshot),
        "advanced": advanced_reason(entry.value) if draft.view == "json" else None,
    }
    if is_fragment(request):
        headers = {"HX-Trigger-After-Settle": "draft-changed"}
        return page(
            request, "flag/_editor.html", state=state, status=status, headers=headers, **data
        )
    return page(request, "flag/editor.html", state=state, status=status, **data)


def _errors(result: DraftResult) -> FormErrors:
    return FormErrors("", result.errors)


def _head_data(
    request: web.Request, state: EnvironmentState, entry: Configuration
) -> dict[str, Any]:
    environments = frame(request, state).environments
    return {
        "head": head_of(entry.key, entry),
        "tabs": list(tabs_of(request, entry.key, environments)),
        "views": VIEWS,
        "tools": editor_tools,
    }


def _missing(request: web.Request, state: EnvironmentState) -> web.Response:
    """Offer to create the flag as in another environment. Raises NotFound if none has it."""
    key = request.match_info["key"]
    around = frame(request, state)
    tabs = list(tabs_of(request, key, around.environments))
    if not any(tab.status for tab in tabs):
        raise NotFound(
            "flag_unknown", f"There is no flag {key} in {state.snapshot.environment.name}."
        )
    return page(request, "flag/missing.html", state=state, status=404, key=key, tabs=tabs)
