"""The page that creates a flag, in one or several environments at once."""

from collections.abc import Iterable
from typing import Any

from aiohttp import web

from app.access.guard import CALLER
from app.access.models import Scope
from app.configuration.snapshots.reading import own_snapshot
from app.console.elsewhere import read_key
from app.console.flags.forms import (
    TYPES,
    VARIANTS_MAX,
    NewFlagForm,
    operations_of,
    read_new_flag,
)
from app.console.forms import FormErrors, read_form, shown_status
from app.console.pages import is_fragment, redirect_to
from app.console.rendering import Frame, frame, page
from app.console.saving import save
from app.console.state import EnvironmentState
from app.errors import AppError, Forbidden, Stale, Unauthenticated, invalid
from app.names import KEY_RULE, is_key


async def get_new_flag(request: web.Request) -> web.Response:
    """Show the form of a new flag. `key` in the query fills in its key."""
    form = NewFlagForm(
        key=request.query.get("key", ""), environments=[request.match_info["environment"]]
    )
    return await _page(request, form)


async def post_new_flag(request: web.Request) -> web.Response:
    """Create the flag, or show the form again with other variants."""
    posted = await read_form(request)
    form = read_new_flag(posted)
    match posted.get("step") or request.query.get("step"):
        case "type":
            return await _page(request, form.with_type())
        case "more":
            return await _page(request, form.with_more())
        case "draft":
            return await _page(request, form)
        case _:
            pass
    try:
        return redirect_to(request, await _create(request, form))
    except (Forbidden, Unauthenticated):
        raise
    except AppError as error:
        errors = FormErrors.of(error)
        return await _page(request, form, status=shown_status(request, error), errors=errors)


async def get_key_check(request: web.Request) -> web.Response:
    """Say whether a key can be used, as a fragment."""
    key = request.query.get("key", "").strip()
    return page(request, "flags/_key_check.html", **await _key_check(request, key))


async def _key_check(request: web.Request, key: str) -> dict[str, Any]:
    environment = request.match_info["environment"]
    own = request[CALLER].rights.keys(Scope.PROPOSE, environment)
    rule = "" if is_key(key) or not key else KEY_RULE
    if key and not rule and key not in own:
        rule = f"Your rights in {environment} cover {own.words}."
    return {
        "key": key,
        "rule": rule,
        "taken": await _environments_with(request, frame(request), key),
    }


async def _create(request: web.Request, form: NewFlagForm) -> str:
    """Write the flag, and return the address of its page. Raises AppError."""
    current, around = request.match_info["environment"], frame(request)
    taken = set(await _environments_with(request, around, form.key)) & set(form.environments)
    if taken:
        raise _taken(sorted(taken))
    operations = operations_of(form, current)
    try:
        written = await save(request, operations, form.message or f"Create {form.key}")
    except Stale:
        raise _taken(form.environments) from None
    first = written.change_sets[0]
    shown = next((item for item in written.change_sets if item.environment == current), first)
    return around.url_in(shown.environment, "flags", form.key, saved=shown.revision)


async def _environments_with(request: web.Request, around: Frame, key: str) -> list[str]:
    entries = await read_key(request, key, around.environments)
    return [name for name, entry in entries.items() if entry is not None]


def _taken(names: Iterable[str]) -> AppError:
    return invalid("key", f"must be new, but {', '.join(names)} has an entry of this key")


async def _page(
    request: web.Request,
    form: NewFlagForm,
    *,
    status: int = 200,
    errors: FormErrors | None = None,
) -> web.Response:
    state = EnvironmentState(snapshot=own_snapshot(request, request.match_info["environment"]))
    around, keys = frame(request, state), [form.key] if is_key(form.key) else None
    effects = [around.save_in(environment.name, keys) for environment in around.environments]
    return page(
        request,
        "flags/_new_flag.html" if is_fragment(request) else "flags/new_flag.html",
        state=state,
        status=status,
        form=form,
        errors=errors,
        types=TYPES,
        keys=keys,
        save=around.save_of(keys),
        # Then the chosen environments decide what the button says.
        is_mixed=len({item.proposes for item in effects if item and item.is_allowed}) > 1,
        may_have_more=len(form.variants) < VARIANTS_MAX and form.type != "boolean",
        **await _key_check(request, form.key),
    )
