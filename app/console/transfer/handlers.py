"""Import a file into an environment after a look at its effect, and export the environment."""

from typing import Any

from aiohttp import web

from app.configuration.changes.authority import PROPERTIES
from app.configuration.transfer.documents import Format
from app.configuration.transfer.handlers import answer_export
from app.configuration.transfer.import_requests import OUTDATED, run_import
from app.configuration.transfer.service import ImportResult
from app.console.confirmation import FIELD, check_confirmation
from app.console.emergency import read_authority
from app.console.forms import Form, FormErrors, read_form
from app.console.pages import is_fragment, redirect
from app.console.rendering import frame, page
from app.console.saving import check_message, proposing
from app.console.state import EnvironmentState, read_state
from app.console.transfer.formats import NAMES
from app.console.transfer.forms import ImportForm, read_import_form
from app.console.transfer.views import ImportView, import_view
from app.errors import Conflict, Invalid, Malformed, Stale, TooLarge, invalid
from app.http import wire

_REFUSALS = (Malformed, Invalid, Conflict, Stale, TooLarge)


async def get_transfer(request: web.Request) -> web.Response:
    """Show the forms for import and export."""
    return _page(request, await read_state(request), ImportForm())


async def post_import(request: web.Request) -> web.Response:
    """Show what an import would change, or apply the import that was shown."""
    state = await read_state(request)
    form = ImportForm()
    try:
        form = await read_import_form(request)
        check_message(form.message)
        if not form.raw.strip():
            raise invalid("file", "must be chosen, or a text must be pasted")
        applied = await _apply(request, state, form) if form.is_apply else None
        if isinstance(applied, ImportResult):
            return _leave(request, state, applied)
        # The transaction of a dry run counts one revision further, if there is a change.
        authority = read_authority(request, form.message, dry_run=True)
        result = await run_import(request, form.raw, form.options(dry_run=True), authority)
    except _REFUSALS as error:
        return _page(request, state, form, errors=FormErrors.of(error), status=422)
    view = import_view(result)
    revision = result.revision if view.is_empty else result.revision - 1
    keys = [*result.created, *result.updated, *result.deleted]
    keys += [PROPERTIES] if result.properties is not None else []
    return _page(
        request,
        state,
        form,
        view=view,
        save=frame(request, state).save_of(keys),
        checked=form.mark(revision),
        errors=applied,
        status=200 if applied is None else 422,
    )


async def _apply(
    request: web.Request, state: EnvironmentState, form: ImportForm
) -> ImportResult | FormErrors:
    """Import what was shown. Return errors if it must be shown again."""
    revision = form.checked_revision()
    if revision is None:
        return FormErrors("The import differs from the one that was shown. Check it again.")
    authority = read_authority(request, form.message)
    environment = state.snapshot.environment
    typed = Form({FIELD: form.confirmation})
    try:
        async with proposing(request):
            return await run_import(
                request,
                form.raw,
                form.options(dry_run=False),
                authority,
                revision=revision,
                confirm=lambda: check_confirmation(typed, environment),
            )
    except (Conflict, Invalid) as error:
        errors = FormErrors.of(error)
        if error.code != OUTDATED and not errors.under(FIELD):
            raise
        return errors


def _leave(request: web.Request, state: EnvironmentState, applied: ImportResult) -> web.Response:
    address = frame(request, state).url("transfer", saved=applied.revision)
    if is_fragment(request):
        return web.Response(headers={"HX-Redirect": address})
    return redirect(address)


def _page(
    request: web.Request,
    state: EnvironmentState,
    form: ImportForm,
    *,
    view: ImportView | None = None,
    errors: FormErrors | None = None,
    status: int = 200,
    **data: Any,
) -> web.Response:
    template = "transfer/_effect.html" if is_fragment(request) else "transfer/transfer.html"
    return page(
        request,
        template,
        state=state,
        status=status,
        form=form,
        formats=NAMES,
        view=view,
        errors=errors,
        **{"save": None, "checked": "", **data},
    )


async def get_export(request: web.Request) -> web.Response:
    """Send the environment as a file, with masked secrets."""
    return await _export(request, Form(request.query), reveal=False)


async def post_export(request: web.Request) -> web.Response:
    """Send the environment as a file, with secrets in clear. The access log records that."""
    return await _export(request, await read_form(request), reveal=True)


async def _export(request: web.Request, fields: Form, *, reveal: bool) -> web.Response:
    query = {name: fields[name] for name in ("format", "at", "revision") if fields.get(name)}
    if "at" in query and not query["at"].endswith("Z"):
        # A field for a time has no zone. The page says that it is UTC.
        query["at"] += "Z" if query["at"].count(":") > 1 else ":00Z"
    format_ = wire.choice(query, "format", Format) or Format.JSON
    return await answer_export(request, {}, format_, wire.moment(query), reveal=reveal)
