"""Posted forms of settings and secrets: drafts, saves, copies, renames, deletions, reveals."""

from dataclasses import replace

from aiohttp import web

from app.access.guard import CALLER
from app.access.models import Scope
from app.configuration.changes import plans, writes
from app.configuration.changes.models import Kind
from app.configuration.changes.requests import DeleteOperation, PutOperation
from app.configuration.changes.views import AppliedChangeSets, EntryView
from app.configuration.entries import service
from app.configuration.snapshots.reading import FOLLOWER
from app.configuration.snapshots.snapshot import Configuration
from app.console.confirmation import check_confirmation
from app.console.copying.handlers import texts_for
from app.console.entry_drafts import (
    DraftConflict,
    PendingChange,
    current_of,
    find_conflict,
    merged,
    pending_change,
    view_of,
)
from app.console.entry_pages import read_version, revision_in
from app.console.forms import Form, FormErrors, read_form
from app.console.json_text import pretty
from app.console.pages import is_fragment, redirect
from app.console.rendering import frame, page
from app.console.saving import save, save_by
from app.console.settings.forms import (
    EntryForm,
    as_json,
    form_of,
    read_entry_form,
    with_type,
)
from app.console.settings.handlers import find_entry
from app.console.settings.views import EntryPage, has_key_ring, other_environments
from app.console.state import EnvironmentState, read_state
from app.database import Connection
from app.errors import AppError, Conflict, Invalid, NotFound, Stale, invalid
from app.http import problems
from app.http.conditions import ExpectedVersion
from app.http.keys import DATABASE
from app.secrets.reveal import VAULT, log_reveal


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
    return _answer(request, state, shown, part=request.query.get("part"))


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
            current = await _newest(request, entered.key)
            conflict = await find_conflict(request, entered.key, entered.version, current)
        shown = _shown(
            request,
            state,
            entered,
            errors=FormErrors.of(error),
            conflict=conflict,
            pending=pending,
        )
        return _answer(request, state, shown, status=problems.STATUS[type(error)])
    environment = state.snapshot.environment.name
    revision = revision_in(written, environment)
    return redirect(frame(request, state).url("settings", entered.key, saved=revision))


async def post_deletion(request: web.Request) -> web.Response:
    """Delete an entry. In a protected environment its name must be typed."""
    state = await read_state(request)
    form = await read_form(request)
    entry = find_entry(request, state)
    try:
        check_confirmation(form, state.snapshot.environment)
        operation = DeleteOperation(key=entry.key, version=read_version(form))
        written = await save(request, [operation], form.get("message", ""))
    except AppError as error:
        return _refused_action(request, state, form, "delete", error)
    revision = revision_in(written, state.snapshot.environment.name)
    folder = entry.key[: entry.key.rfind("/") + 1] or None
    return redirect(frame(request, state).url("settings", prefix=folder, saved=revision))


async def post_rename(request: web.Request) -> web.Response:
    """Delete an entry, and create it under another key, in one change set."""
    state = await read_state(request)
    form = await read_form(request)
    entry, new_key = find_entry(request, state), form.get("new_key", "").strip()
    try:
        written = await _rename(request, entry, new_key, form)
    except AppError as error:
        return _refused_action(request, state, form, "rename", error)
    revision = revision_in(written, state.snapshot.environment.name)
    return redirect(frame(request, state).url("settings", new_key, saved=revision))


async def _rename(
    request: web.Request, entry: Configuration, new_key: str, form: Form
) -> AppliedChangeSets:
    if entry.kind == Kind.SECRET:
        raise invalid("key", "cannot be changed without the value of the secret")
    if new_key == entry.key:
        raise invalid("key", "must be another one")
    operations: list[PutOperation | DeleteOperation] = [
        PutOperation(
            key=new_key,
            version=0,
            value=entry.value,
            schema=entry.schema,
            description=entry.description,
        ),
        DeleteOperation(key=entry.key, version=read_version(form)),
    ]
    message = form.get("message", "") or f"Rename {entry.key} to {new_key}"
    return await save(request, operations, message)


def _refused_action(
    request: web.Request, state: EnvironmentState, form: Form, action: str, error: AppError
) -> web.Response:
    """Show the entry's page with the error beside the action that was refused."""
    entry = find_entry(request, state)
    view = view_of(entry)
    shown = EntryPage(
        entry=entry,
        form=form_of(entry.key, view, view),
        has_key_ring=has_key_ring(request, entry.kind),
        failed=action,
        action_error=FormErrors.of(error).message,
        typed=form,
    )
    return _answer(request, state, shown, status=problems.STATUS[type(error)])


async def post_copy(request: web.Request) -> web.Response:
    """Copy an entry to another environment. `version` is the one that the page showed there."""
    state = await read_state(request)
    form = await read_form(request)
    entry, target = find_entry(request, state), form.get("to", "")
    message = form.get("message", "") or f"Copy from {state.snapshot.environment.name}"
    try:
        if target not in other_environments(request, state):
            raise invalid("to", "must be another environment to which you may write")
        written = await _copy(request, entry, target, read_version(form), message)
    except AppError as error:
        current = current_of(request.app[FOLLOWER].get(target), entry.key) if target else None
        return page(
            request,
            "settings/copy.html",
            state=state,
            status=problems.STATUS[type(error)],
            entry=entry,
            targets=other_environments(request, state),
            target=target,
            current=current,
            change=await pending_change(entry.key, current, view_of(entry)),
            errors=FormErrors.of(error),
            message=form.get("message", ""),
        )
    revision = revision_in(written, target)
    return redirect(frame(request, state).url_in(target, "settings", entry.key, saved=revision))


async def _copy(
    request: web.Request, entry: Configuration, target: str, version: int, message: str
) -> AppliedChangeSets:
    if entry.kind != Kind.SECRET:
        operation = PutOperation(
            key=entry.key,
            version=version,
            value=entry.value,
            schema=entry.schema,
            description=entry.description,
            environment=target,
        )
        return await save(request, [operation], message)
    # The value of a secret is sealed again for the target, without leaving the service.
    grant, actor, vault = request[CALLER].grant, request[CALLER].actor, request.app[VAULT]
    source, may_reveal = request.match_info["environment"], grant.allows(Scope.REVEAL)

    async def work(connection: Connection) -> AppliedChangeSets:
        plan = await plans.promote(connection, source, target, [entry.key], may_reveal=may_reveal)
        expected = ExpectedVersion(version=version or None)
        operations = [replace(item, expected=expected) for item in plan.intent.operations]
        plan = replace(plan, intent=replace(plan.intent, operations=operations))
        return await writes.apply_plan(connection, plan, actor=actor, message=message, vault=vault)

    return await save_by(request, work)


async def post_reveal(request: web.Request) -> web.Response:
    """Show a secret once. The access log has the read before the page is sent."""
    state = await read_state(request)
    vault, key = request.app[VAULT], request.match_info["key"]

    async def work(connection: Connection) -> Configuration:
        environment = request.match_info["environment"]
        found, _, _ = await service.get(connection, environment, key, state.moment, vault=vault)
        if found.kind != Kind.SECRET:
            raise Conflict("not_a_secret", "Only a secret can be revealed.")
        await log_reveal(connection, request, key=key, version=found.version)
        return found

    revealed = await request.app[DATABASE].transact(work)
    value = revealed.value
    text = value if isinstance(value, str) else pretty(value)
    if is_fragment(request):
        return page(request, "settings/_revealed.html", state=state, secret=text, key=key)
    entry = find_entry(request, state)
    view = view_of(entry)
    shown = EntryPage(entry=entry, form=form_of(key, view, view), secret=text)
    return page(request, "settings/entry.html", state=state, shown=shown)


async def _read(
    request: web.Request, state: EnvironmentState, form: Form
) -> tuple[EntryForm, EntryView | None, DraftConflict | None]:
    """Return the form, its base, and the conflict if another version is current."""
    key = request.match_info.get("key") or form.get("key", "").strip()
    version = read_version(form)
    current = current_of(state.snapshot, key)
    if request.match_info.get("key") is None:
        # A new entry: that the key exists already is said when it is saved.
        return await read_entry_form(form, key, None), None, None
    if version == (current.version if current is not None else 0):
        return await read_entry_form(form, key, current), current, None
    conflict = await find_conflict(request, key, version, current)
    if conflict.base is None and current is None:
        raise NotFound("configuration_unknown", "There is no such configuration.")
    base = conflict.base or current
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


async def _newest(request: web.Request, key: str) -> EntryView | None:
    """Return the stored content, which this instance may not serve yet."""
    await request.app[FOLLOWER].try_refresh()
    return current_of(request.app[FOLLOWER].get(request.match_info["environment"]), key)


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


def _answer(
    request: web.Request,
    state: EnvironmentState,
    shown: EntryPage,
    *,
    status: int = 200,
    part: str | None = None,
) -> web.Response:
    template = "settings/entry.html"
    if is_fragment(request):
        template = "settings/_pending.html" if part == "pending" else "settings/_form.html"
    return page(request, template, state=state, status=status, shown=shown)
