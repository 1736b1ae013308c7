"""Posted forms of segments: the draft, the save, the deletion."""

from aiohttp import web

from app.access.models import Scope
from app.configuration.changes.requests import DeleteOperation, PutOperation
from app.configuration.changes.views import EntryView
from app.console.copying.handlers import texts_for
from app.console.copying.texts import CopyTexts
from app.console.entry_drafts import (
    DraftConflict,
    current_of,
    find_base,
    merged,
    newest_conflict,
    pending_change,
    view_of,
)
from app.console.entry_pages import leave, read_version, revision_in
from app.console.flag.actions import act
from app.console.flag.conditions import fit_condition
from app.console.flag.draft import FieldRules, FlagDraft
from app.console.flag.forms import parse
from app.console.forms import FormErrors, RefusedAction, read_form, shown_status
from app.console.lists.page import show_list
from app.console.pages import redirect
from app.console.rendering import frame
from app.console.saving import check_grant, save
from app.console.segments.drafts import draft_of_segment, errors_by_field, segment_of
from app.console.segments.handlers import segment_page, show, typed_context
from app.console.settings.forms import run_sized
from app.console.settings.handlers import find_entry
from app.console.state import EnvironmentState, read_state
from app.errors import AppError, Invalid, Stale, Violation
from app.evaluation.lists import list_reference


async def post_segment_draft(request: web.Request) -> web.Response:
    """Change the draft by a button, save it, or show what a save would change.

    The query `part=pending` answers with the changes alone.
    """
    state = await read_state(request)
    form = await read_form(request)
    is_new = "key" not in request.match_info
    key = form.get("key", "").strip() if is_new else request.match_info["key"]
    draft, action = parse(form.items()), form.get("action", "check")
    base = conflict = None
    if not is_new:
        base, conflict = await find_base(request, state.snapshot, key, draft.version)
    if action == "save":
        return await _save(request, state, key, draft, base, conflict)
    if action == "discard":
        path = ["segments"] if is_new else ["segments", key]
        return leave(request, frame(request, state).url(*path))
    focus, refusal = "", None
    try:
        if action == "rebase":
            draft, base, conflict = _rebased(state, key, draft, base, conflict)
        elif action.startswith("view "):
            draft = _in_view(draft, base, action.removeprefix("view "))
        elif request.query.get("part") != "pending":
            focus = act(draft, action).focus
    except Invalid as error:
        refusal = FormErrors.of(error)
    for rule in draft.rules:
        fit_condition(rule.condition)
    segment, errors = await _segment_of(draft, base)
    pending = None if errors else await pending_change(key, base, segment)
    shown = segment_page(
        state,
        key,
        draft,
        segment,
        is_new=is_new,
        pending=pending,
        texts=_texts(request, key, draft, segment) if pending else None,
        conflict=conflict,
        is_posted=True,
        context=typed_context(form),
    )
    template = "segments/_editor.html"
    if request.query.get("part") == "pending":
        template = "segments/_pending.html"
    return await show(
        request,
        state,
        shown,
        errors=refusal or FormErrors("", errors),
        focus=focus,
        template=template,
    )


def _in_view(draft: FlagDraft, base: EntryView | None, view: str) -> FlagDraft:
    """Show the draft as a condition or as JSON. Raises Invalid if it cannot be shown so."""
    segment, errors = segment_of(draft, base)
    if errors:
        field, rules = next(iter(errors.items()))
        raise Invalid("draft_incomplete", f"Complete the condition first: {field} {rules[0]}.")
    shown = draft_of_segment(segment, as_json=view == "json")
    if view != "json" and shown.view == "json":
        raise Invalid("draft_advanced", "The editor has no form for this condition.")
    shown.version, shown.message = draft.version, draft.message
    return shown


def _rebased(
    state: EnvironmentState,
    key: str,
    draft: FlagDraft,
    base: EntryView | None,
    conflict: DraftConflict | None,
) -> tuple[FlagDraft, EntryView | None, DraftConflict | None]:
    """Put the draft on top of the current version."""
    segment, errors = segment_of(draft, base)
    current = current_of(state.snapshot, key)
    if conflict is None or errors:
        return draft, base, conflict
    if current is None:
        draft.version = 0
        return draft, None, None
    shown = draft_of_segment(merged(conflict.base, segment, current))
    shown.version, shown.message = current.version, draft.message
    return shown, current, None


async def _segment_of(draft: FlagDraft, base: EntryView | None) -> tuple[EntryView, FieldRules]:
    size = len(draft.json) + sum(len(rule.condition.value) for rule in draft.rules)
    return await run_sized(size, lambda: segment_of(draft, base))


def _operation(key: str, draft: FlagDraft, segment: EntryView) -> PutOperation:
    return PutOperation(
        key=key,
        version=draft.version,
        value=segment.value,
        kind="segment",
        schema=segment.schema,
        description=segment.description,
    )


def _texts(
    request: web.Request, key: str, draft: FlagDraft, segment: EntryView
) -> CopyTexts | None:
    return texts_for(request, [_operation(key, draft, segment)], draft.message)


async def _save(
    request: web.Request,
    state: EnvironmentState,
    key: str,
    draft: FlagDraft,
    base: EntryView | None,
    conflict: DraftConflict | None,
) -> web.Response:
    segment, found = await _segment_of(draft, base)
    pending = None
    try:
        check_grant(request, state.snapshot.environment.name, Scope.PROPOSE)
        if found:
            violations = [Violation(name, rule) for name, rules in found.items() for rule in rules]
            raise Invalid.of("field_invalid", violations)
        pending = await pending_change(key, base, segment)
        if base is not None and not pending:
            raise Invalid("unchanged", "Nothing has changed.")
        operation = _operation(key, draft, segment)
        written = await save(request, [operation], draft.message)
    except AppError as error:
        if isinstance(error, Stale) and conflict is None and "key" in request.match_info:
            conflict = await newest_conflict(request, key, draft.version)
        if found:
            errors = FormErrors("Complete the fields that are marked.", found)
        else:
            errors = errors_by_field(error, draft)
        shown = segment_page(
            state,
            key,
            draft,
            segment,
            is_new="key" not in request.match_info,
            pending=pending,
            conflict=conflict,
            is_posted=True,
        )
        status = shown_status(request, error)
        return await show(request, state, shown, errors=errors, status=status)
    revision = revision_in(written, state.snapshot.environment.name)
    return leave(request, frame(request, state).url("segments", key, saved=revision))


async def post_segment_deletion(request: web.Request) -> web.Response:
    """Delete a segment that no flag uses. A protected environment's name must be typed."""
    state = await read_state(request)
    form = await read_form(request)
    entry = find_entry(request, state)
    try:
        operation = DeleteOperation(key=entry.key, version=read_version(form))
        written = await save(request, [operation], form.get("message", ""), confirmation=form)
    except AppError as error:
        refused = RefusedAction(name="delete", errors=FormErrors.of(error), form=form)
        status = shown_status(request, error)
        if list_reference(entry.value) is not None:
            return await show_list(request, state, entry, refused=refused, status=status)
        view = view_of(entry)
        shown = segment_page(state, entry.key, draft_of_segment(view), view, refused=refused)
        return await show(request, state, shown, status=status)
    revision = revision_in(written, state.snapshot.environment.name)
    return redirect(frame(request, state).url("segments", saved=revision))
