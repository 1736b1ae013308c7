"""The posted form of a setting or secret: its draft, its save, and conflicts with others."""

from dataclasses import replace

from aiohttp import web

from app.configuration.changes.models import Kind
from app.configuration.changes.views import EntryView
from app.console.copying.handlers import texts_for
from app.console.entry_drafts import (
    DraftConflict,
    PendingChange,
    current_of,
    find_base,
    merged,
    newest_conflict,
    pending_change,
)
from app.console.entry_pages import read_version, revision_in
from app.console.forms import Form, FormErrors, read_form, shown_status
from app.console.pages import redirect
from app.console.rendering import frame
from app.console.saving import save
from app.console.settings.forms import (
    EntryForm,
    as_json,
    form_of,
    read_entry_form,
    with_type,
)
from app.console.settings.views import EntryPage, has_key_ring, show_entry
from app.console.state import EnvironmentState, read_state
from app.errors import AppError, Invalid, Stale, invalid


async def post_draft(request: web.Request) -> web.Response:
    """Show the form again with what was typed, and what a save would change.

    The query `part=pending` answers with the changes alone. The field `do` converts the form:
    `type` after another type was chosen, `json` from fields to JSON, `rebase` to the current
    version.
    """
    state = await read_state(request)
    form = await read_form(request)
    entered, base, conflict = await _read(request, state, form)
    match form.get("do"):
        case "type":
            entered = await _retyped(form, entered, base)
        case "json":
            entered = as_json(entered)
        case "rebase":
            entered, base, conflict = _rebased(state, entered, conflict)
        case _:
            pass
    pending = None
    if entered.draft is not None:
        pending = await pending_change(entered.key, base, entered.draft)
    errors = FormErrors.of(entered.error) if entered.error is not None else None
    shown = _shown(request, state, entered, errors=errors, conflict=conflict, pending=pending)
    return show_entry(request, state, shown, part=request.query.get("part"))


async def post_setting(request: web.Request) -> web.Response:
    """Save an entry, or create one. A refused save shows the form again with the errors."""
    state = await read_state(request)
    form = await read_form(request)
    entered, base, conflict = await _read(request, state, form)
    pending = None
    try:
        if entered.draft is None:
            raise entered.error or invalid("value", "must be given")
        pending = await pending_change(entered.key, base, entered.draft)
        if base is not None and not pending:
            raise Invalid("unchanged", "Nothing has changed.")
        written = await save(request, [entered.operation()], entered.message)
    except AppError as error:
        if isinstance(error, Stale) and conflict is None:
            conflict = await newest_conflict(request, entered.key, entered.version)
        shown = _shown(
            request,
            state,
            entered,
            errors=FormErrors.of(error),
            conflict=conflict,
            pending=pending,
        )
        return show_entry(request, state, shown, status=shown_status(request, error))
    environment = state.snapshot.environment.name
    revision = revision_in(written, environment)
    return redirect(frame(request, state).url("settings", entered.key, saved=revision))


async def _read(
    request: web.Request, state: EnvironmentState, form: Form
) -> tuple[EntryForm, EntryView | None, DraftConflict | None]:
    """Return the form, its base, and the conflict if another version is current."""
    key = request.match_info.get("key") or form.get("key", "").strip()
    if request.match_info.get("key") is None:
        # A new entry: that the key exists already is said when it is saved.
        return await read_entry_form(form, key, None), None, None
    base, conflict = await find_base(request, state.snapshot, key, read_version(form))
    return await read_entry_form(form, key, base), base, conflict


async def _retyped(form: Form, entered: EntryForm, base: EntryView | None) -> EntryForm:
    """Convert the text from the type with which it was shown to the chosen one."""
    retyped = with_type(entered, form.get("shown_type", entered.type))
    posted = form.copy()
    posted["value"] = retyped.text
    again = await read_entry_form(posted, entered.key, base)
    # A value that the new type does not have yet is no error while one types.
    return replace(again, violations=())


def _rebased(
    state: EnvironmentState, entered: EntryForm, conflict: DraftConflict | None
) -> tuple[EntryForm, EntryView | None, DraftConflict | None]:
    """Put the draft on top of the current version."""
    current = current_of(state.snapshot, entered.key)
    if entered.draft is None or conflict is None:
        return entered, current, conflict
    if current is None:
        return replace(as_json(entered), version=0), None, None
    content = merged(conflict.base, entered.draft, current)
    form = form_of(entered.key, content, current)
    form = replace(form, message=entered.message)
    if entered.kind == Kind.SECRET:
        form = replace(form, type=entered.type, text=entered.text)
    return replace(form, draft=content), current, None


def _shown(
    request: web.Request,
    state: EnvironmentState,
    entered: EntryForm,
    *,
    pending: PendingChange | None,
    errors: FormErrors | None,
    conflict: DraftConflict | None,
) -> EntryPage:
    found = state.snapshot.entries.get(entered.key) if "key" in request.match_info else None
    texts = None
    if pending and entered.draft is not None:
        texts = texts_for(request, [entered.operation()], entered.message)
    return EntryPage(
        entry=None if found is None else found.configuration,
        form=entered,
        is_posted=True,
        has_key_ring=has_key_ring(request, entered.kind),
        pending=pending,
        texts=texts,
        errors=errors,
        conflict=conflict,
    )
