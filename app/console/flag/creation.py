"""The page that creates a flag with the definition of another environment."""

from typing import Any

from aiohttp import web

from app.access.models import Scope
from app.configuration.changes.models import Content
from app.configuration.changes.references import referenced_names
from app.configuration.changes.requests import PutOperation
from app.configuration.snapshots.reading import load_snapshot, own_snapshot
from app.configuration.snapshots.snapshot import Configuration
from app.console.confirmation import FIELD, needs_confirmation
from app.console.entry_pages import read_version
from app.console.flag.views import require_flag, status_of
from app.console.forms import Form, FormErrors, read_form, shown_status
from app.console.pages import redirect
from app.console.rendering import frame, page
from app.console.saving import check_grant, save
from app.console.state import EnvironmentState
from app.errors import Conflict, Invalid, Stale, invalid
from app.flags.wording import describe

_DISABLED, _AS_SOURCE = "disabled", "source"


async def get_copy_flag(request: web.Request) -> web.Response:
    """Show what would be created. `source` in the query names the other environment."""
    return _page(request, await _source(request, request.query.get("source", "")))


async def copy_flag(request: web.Request) -> web.Response:
    """Create the flag as the page showed it."""
    form = await read_form(request)
    key, entry = request.match_info["key"], await _source(request, form.get("source", ""))
    try:
        _check_reviewed(form, entry)
        operation = PutOperation(
            key=key,
            version=0,
            value=_definition(entry, form.get("state", "")),
            kind="flag",
            schema=entry.schema,
            description=entry.description,
        )
        message = form.get("message", "") or f"Copy {key} from {entry.environment}"
        written = await save(request, [operation], message, confirmation=form)
    except (Invalid, Conflict, Stale) as error:
        status = shown_status(request, error)
        return _page(request, entry, status=status, form=form, errors=FormErrors.of(error))
    revision = written.change_sets[0].revision
    return redirect(frame(request).url("flags", key, saved=revision))


async def _source(request: web.Request, name: str) -> Configuration:
    """Return the flag in the environment that it is copied from. Raises Forbidden, NotFound."""
    check_grant(request, name, Scope.READ)
    return require_flag(await load_snapshot(request, name), request.match_info["key"])


def _check_reviewed(form: Form, entry: Configuration) -> None:
    """Raise Conflict unless the form shows the current version."""
    if read_version(form) != entry.version:
        text = f"{entry.key} changed in {entry.environment}. Review it again."
        raise Conflict("review_outdated", text)


def _has_choice(entry: Configuration) -> bool:
    return status_of(entry.value) != "Disabled"


def _definition(entry: Configuration, state: str) -> Any:
    """Return the definition to create.

    A disabled flag retains its rules, and a program gets no value, as before the creation.
    """
    if not _has_choice(entry) or state == _AS_SOURCE:
        return entry.value
    if state != _DISABLED:
        raise invalid("state", f"must be {_DISABLED} or {_AS_SOURCE}")
    return {**entry.value, "state": "DISABLED"}


def _page(
    request: web.Request,
    entry: Configuration,
    *,
    status: int = 200,
    form: Form | None = None,
    errors: FormErrors | None = None,
) -> web.Response:
    snapshot = own_snapshot(request, request.match_info["environment"])
    used = set(referenced_names(Content.of(entry)))
    fields = form if form is not None else Form()
    return page(
        request,
        "flag/copy.html",
        state=EnvironmentState(snapshot=snapshot),
        status=status,
        entry=entry,
        serves=list(describe(entry.value)),
        missing=sorted(used.difference(snapshot.rules.flag_set.segments)),
        has_choice=_has_choice(entry),
        chosen=fields.get(
            "state", _DISABLED if needs_confirmation(snapshot.environment) else _AS_SOURCE
        ),
        message=fields.get("message", ""),
        typed=fields.get(FIELD, ""),
        errors=errors,
    )
