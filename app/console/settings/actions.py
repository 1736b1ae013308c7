"""Deletions, renames and copies of settings and secrets, and the reveal of a secret."""

from dataclasses import replace

from aiohttp import web

from app.access.guard import CALLER
from app.configuration.changes import plans, writes
from app.configuration.changes.models import Kind
from app.configuration.changes.requests import DeleteOperation, PutOperation
from app.configuration.changes.views import AppliedChangeSets
from app.configuration.entries import service
from app.configuration.snapshots.reading import load_snapshot
from app.configuration.snapshots.snapshot import Configuration
from app.console.emergency import read_authority
from app.console.entry_drafts import current_of, pending_change, view_of
from app.console.entry_pages import read_version, revision_in
from app.console.forms import Form, FormErrors, RefusedAction, read_form, shown_status
from app.console.json_text import pretty
from app.console.pages import is_fragment, redirect
from app.console.rendering import frame, page
from app.console.saving import save, write
from app.console.settings.forms import form_of
from app.console.settings.handlers import find_entry
from app.console.settings.views import EntryPage, has_key_ring, other_environments, show_entry
from app.console.state import EnvironmentState, read_state
from app.database import Connection
from app.errors import AppError, Conflict, invalid
from app.http.conditions import ExpectedVersion
from app.http.keys import DATABASE
from app.secrets.reveal import VAULT, log_reveal


async def post_deletion(request: web.Request) -> web.Response:
    """Delete an entry. A protected environment's name must be typed."""
    state = await read_state(request)
    form = await read_form(request)
    entry = find_entry(request, state)
    try:
        operation = DeleteOperation(key=entry.key, version=read_version(form))
        written = await save(request, [operation], form.get("message", ""), confirmation=form)
    except AppError as error:
        return _refused_action(request, state, form, "delete", error)
    revision = revision_in(written, state.snapshot.environment.name)
    folder = entry.key[: entry.key.rfind("/") + 1] or None
    return redirect(frame(request, state).url("settings", prefix=folder, saved=revision))


async def post_rename(request: web.Request) -> web.Response:
    """Delete an entry, and create it under another key, in one change set.

    A protected environment's name must be typed.
    """
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
    return await save(request, operations, message, confirmation=form)


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
        refused=RefusedAction(name=action, errors=FormErrors.of(error), form=form),
    )
    return show_entry(request, state, shown, status=shown_status(request, error))


async def post_copy(request: web.Request) -> web.Response:
    """Copy an entry to another environment. `version` is the one that the page showed there."""
    state = await read_state(request)
    form = await read_form(request)
    entry, target = find_entry(request, state), form.get("to", "")
    message = form.get("message", "") or f"Copy from {state.snapshot.environment.name}"
    targets = other_environments(request, state)
    # The page of a refusal shows the entry of the target, so this comes first.
    if target not in targets:
        raise invalid("to", "must be another environment to which you may write")
    try:
        written = await _copy(request, entry, target, read_version(form), message)
    except AppError as error:
        current = current_of(await load_snapshot(request, target), entry.key)
        return page(
            request,
            "settings/copy.html",
            state=state,
            status=shown_status(request, error),
            entry=entry,
            targets=targets,
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
    rights, actor, vault = request[CALLER].rights, request[CALLER].actor, request.app[VAULT]
    source = request.match_info["environment"]
    authority = read_authority(request, message)

    async def work(connection: Connection) -> AppliedChangeSets:
        plan = await plans.promote(connection, source, target, [entry.key], rights=rights)
        expected = ExpectedVersion(version=version or None)
        operations = [replace(item, expected=expected) for item in plan.intent.operations]
        plan = replace(plan, intent=replace(plan.intent, operations=operations))
        return await writes.apply_plan(
            connection, plan, actor=actor, message=message, vault=vault, authority=authority
        )

    return await write(request, work, dry_run=False)


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
