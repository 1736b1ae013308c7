"""The switch of a flag."""

from typing import Any

from aiohttp import web

from app.configuration.changes.requests import PutOperation
from app.configuration.snapshots.reading import own_snapshot
from app.configuration.snapshots.snapshot import Configuration
from app.console.confirmation import FIELD
from app.console.entry_pages import leave, read_version
from app.console.flag.views import head_of, require_flag
from app.console.forms import FormErrors, read_form
from app.console.pages import is_fragment
from app.console.rendering import frame, page
from app.console.saving import save
from app.console.state import EnvironmentState
from app.errors import AppError, Conflict, Invalid, Stale, invalid
from app.evaluation.validation import check_flag
from app.flags.switching import read_latest_with_targeting, switched_off, switched_on
from app.flags.wording import describe
from app.http.keys import DATABASE


async def get_switch(request: web.Request) -> web.Response:
    """Show what the switch would do, and ask for a message."""
    state, entry = _current(request)
    return await _switch_page(request, state, entry)


async def switch_flag(request: web.Request) -> web.Response:
    """Switch a flag as `flag disable` and `flag enable` do."""
    form = await read_form(request)
    state, entry = _current(request)
    message, variant = form.get("message", ""), form.get("variant") or None
    try:
        definition = await _switched(request, entry, variant)
        operation = PutOperation(
            key=entry.key,
            version=read_version(form),
            value=definition,
            kind="flag",
            schema=entry.schema,
            description=entry.description,
        )
        written = await save(request, [operation], message, confirmation=form)
    except (Invalid, Conflict, Stale) as error:
        errors = FormErrors.of(error)
        typed = form.get(FIELD, "")
        return await _switch_page(
            request, state, entry, errors=errors, message=message, typed=typed
        )
    revision = written.change_sets[0].revision
    return leave(request, frame(request, state).url("flags", entry.key, saved=revision))


def _current(request: web.Request) -> tuple[EnvironmentState, Configuration]:
    name, key = request.match_info["environment"], request.match_info["key"]
    state = EnvironmentState(snapshot=own_snapshot(request, name))
    return state, require_flag(state.snapshot, key)


async def _switched(request: web.Request, entry: Configuration, variant: str | None) -> Any:
    """Return the definition after the switch. Raises Invalid, which may ask for a variant."""
    if violations := check_flag(entry.value):
        rule = f"cannot be switched: {violations[0]}. Edit the definition as JSON"
        raise invalid("value", rule)
    if head_of(entry.key, entry).is_on:
        return switched_off(entry.value, variant)
    async with request.app[DATABASE].connection() as connection:
        earlier = await read_latest_with_targeting(connection, entry.environment, entry.key)
    return switched_on(entry.value, earlier, variant)


async def _switch_page(
    request: web.Request,
    state: EnvironmentState,
    entry: Configuration,
    *,
    errors: FormErrors | None = None,
    message: str = "",
    typed: str = "",
) -> web.Response:
    effect: list[str] = []
    problem: AppError | None = None
    try:
        effect = list(describe(await _switched(request, entry, None)))
    except Invalid as error:
        problem = error
    needs_variant = problem is not None and problem.violations[0].field == "variant"
    return page(
        request,
        "flag/_switch.html" if is_fragment(request) else "flag/switch.html",
        state=state,
        status=422 if errors else 200,
        head=head_of(entry.key, entry),
        effect=effect,
        problem="" if problem is None or needs_variant else problem.message,
        variants=list(entry.value["variants"]) if needs_variant else [],
        has_rules=isinstance(entry.value, dict) and bool(entry.value.get("targeting")),
        message=message,
        typed=typed,
        errors=errors,
    )
