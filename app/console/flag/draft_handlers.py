"""The draft of a flag: changed by buttons, saved, rebased on the changes of others."""

from aiohttp import web

from app.configuration.changes.requests import PutOperation
from app.configuration.snapshots.snapshot import Configuration
from app.console.copying.handlers import entry_texts
from app.console.entry_pages import leave
from app.console.flag import editor_tools
from app.console.flag.actions import ActionEffect, act
from app.console.flag.conflict import read_base, read_conflict, rebase
from app.console.flag.definition import definition_of
from app.console.flag.draft import FlagDraft
from app.console.flag.draft_reader import advanced_reason, draft_of
from app.console.flag.editor import editor_page, errors_of, is_large
from app.console.flag.field_paths import by_field
from app.console.flag.forms import parse
from app.console.flag.pending import pending_changes
from app.console.flag.views import flag_in
from app.console.forms import Form, FormErrors, read_form
from app.console.rendering import frame, page
from app.console.saving import save
from app.console.state import EnvironmentState, read_state
from app.errors import Conflict, Invalid, NotFound, Stale
from app.threads import in_turn


async def post_draft(request: web.Request) -> web.Response:
    """Change the draft by a button, save it, or show its pending changes. Stores nothing else."""
    form = await read_form(request)
    state = await read_state(request)
    key = request.match_info["key"]
    entry = flag_in(state.snapshot, key)
    if entry is None:
        text = (
            f"There is no flag {key} in {state.snapshot.environment.name}. Your draft stays here."
        )
        raise NotFound("flag_unknown", text)
    draft = parse(form.items())
    base = await read_base(request, entry, draft.version)
    if request.query.get("part") == "pending":
        return await _pending(request, state, base, draft)
    match form.get("action") or request.query.get("action", "check"):
        case "save":
            return await _save(request, state, base, draft)
        case "discard":
            return leave(request, frame(request, state).url("flags", key))
        case "rebase":
            return await _rebase(request, state, base, draft, form)
        case action:
            return await _act(request, state, base, draft, action)


async def _act(
    request: web.Request,
    state: EnvironmentState,
    base: Configuration,
    draft: FlagDraft,
    action: str,
) -> web.Response:
    errors, effect = None, None
    if action in ("view rules", "view json"):
        draft, errors = _in_view(draft, base, action.removeprefix("view "))
    else:
        try:
            effect = act(draft, action)
        except Invalid as error:
            errors = FormErrors.of(error)
    return await editor_page(request, state, base, draft, effect=effect, errors=errors)


async def _pending(
    request: web.Request, state: EnvironmentState, base: Configuration, draft: FlagDraft
) -> web.Response:
    def render() -> web.Response:
        result = definition_of(draft, base.value)
        return page(
            request,
            "flag/_pending_changes.html",
            state=state,
            pending=pending_changes(base, result),
            problems=result.errors,
            tools=editor_tools,
            texts=entry_texts(request, base, result.definition, result.description, draft.message),
        )

    return await in_turn("flag", render) if is_large(draft) else render()


def _in_view(
    draft: FlagDraft, base: Configuration, view: str
) -> tuple[FlagDraft, FormErrors | None]:
    """Show the draft as rules or as JSON. A draft with errors stays as it is."""
    if draft.view == view:
        return draft, None
    result = definition_of(draft, base.value)
    if result.errors:
        return draft, errors_of(result)
    if view == "rules" and (reason := advanced_reason(result.definition)) is not None:
        return draft, FormErrors(f"The rules cannot show this definition: {reason}")
    changed = draft_of(result.definition, result.description, draft.version, view=view)
    changed.message = draft.message
    return changed, None


async def _save(
    request: web.Request, state: EnvironmentState, base: Configuration, draft: FlagDraft
) -> web.Response:
    result = definition_of(draft, base.value)
    if result.errors:
        errors = FormErrors("Correct the marked fields.", result.errors)
        return await editor_page(request, state, base, draft, errors=errors, status=422)
    if not pending_changes(base, result).is_changed:
        errors = FormErrors("Nothing has changed, so nothing was written.")
        return await editor_page(request, state, base, draft, errors=errors)
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
    except Stale:
        conflict = await read_conflict(request, base)
        return await editor_page(request, state, base, draft, conflict=conflict, status=409)
    except (Invalid, Conflict) as error:
        errors = by_field(error, draft)
        return await editor_page(request, state, base, draft, errors=errors, status=422)
    revision = written.change_sets[0].revision
    return leave(request, frame(request, state).url("flags", base.key, saved=revision))


async def _rebase(
    request: web.Request, state: EnvironmentState, base: Configuration, draft: FlagDraft, form: Form
) -> web.Response:
    """Put the draft on top of the changes of others, or ask about the parts in conflict."""
    result = definition_of(draft, base.value)
    if result.errors:
        return await editor_page(request, state, base, draft, errors=errors_of(result), status=422)
    conflict = await read_conflict(request, base)
    rebased, open_conflict = rebase(draft, result, base, conflict, form)
    if open_conflict is not None or conflict.theirs is None:
        return await editor_page(request, state, base, draft, conflict=open_conflict)
    effect = ActionEffect(text="Your changes are now on top of theirs.")
    return await editor_page(request, state, conflict.theirs, rebased, effect=effect)
