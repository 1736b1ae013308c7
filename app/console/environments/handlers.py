"""Pages of environments: the list, a new one, the properties of one, its deletion."""

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress

from aiohttp import web

from app.access.guard import ACCESS_LOG, CALLER, TOKENS, origin, readable_keys
from app.access.models import Scope
from app.access.people.access_writes import edit_of
from app.access.refusals import environment_foreign
from app.configuration.changes import administration, writes
from app.configuration.changes.environment_handlers import DELETION_SECONDS
from app.configuration.snapshots.reading import (
    FOLLOWER,
    loaded_snapshot,
    own_snapshot,
    wait_until_served,
)
from app.console.confirmation import check_typed_name
from app.console.entry_pages import read_version
from app.console.environments.forms import (
    PropertiesForm,
    properties_form,
    read_new_environment,
    read_properties,
)
from app.console.forms import Form, FormErrors, RefusedAction, read_form, shown_status
from app.console.pages import redirect
from app.console.rendering import frame, page
from app.console.saving import save
from app.console.state import EnvironmentState, read_state
from app.database import Connection, sql
from app.environments.models import Environment
from app.errors import AppError, Stale, Unavailable
from app.http import wire
from app.http.conditions import ExpectedVersion
from app.http.keys import DATABASE
from app.http.writes import run_write
from app.settings import Tier

_KINDS = ("flag", "setting", "segment", "secret")


async def list_environments(request: web.Request) -> web.Response:
    """List the environments of the caller, with the number of their entries."""
    around = frame(request)
    counts = await _count_entries(request, [item.name for item in around.environments])
    deleted = request.query.get("deleted")
    return page(request, "environments/list.html", counts=counts, kinds=_KINDS, deleted=deleted)


async def _count_entries(request: web.Request, names: Sequence[str]) -> dict[str, Counter[str]]:
    """Return the number of entries by environment and kind.

    Environments that are not in memory are left out while the database is away, and for a caller
    who may not read all keys.
    """
    counts: dict[str, Counter[str]] = {}
    for name in names:
        if (snapshot := await loaded_snapshot(request, name)) is not None:
            counts[name] = Counter(entry.kind for entry in snapshot.entries.values())
    # The statement counts all keys.
    absent = [n for n in names if n not in counts and readable_keys(request, n).is_all]
    if absent:
        with suppress(Unavailable):
            async with request.app[DATABASE].connection() as connection:
                counts |= {name: Counter() for name in absent}
                async for row in sql.count_entries_by_kind(connection, environments=absent):
                    counts[row["environment"]][row["kind"]] = row["entries"]
    return counts


async def get_new_environment(request: web.Request) -> web.Response:
    """Show the form of a new environment."""
    return _new(request, Form(), None)


async def post_new_environment(request: web.Request) -> web.Response:
    """Create an environment, and lead to its flags."""
    form = await read_form(request)
    try:
        environment = await _create(request, form)
    except AppError as error:
        return _new(request, form, FormErrors.of(error), shown_status(request, error))
    await wait_until_served(request, environment.name, environment.revision)
    return redirect(frame(request).url_in(environment.name, "flags", saved=environment.revision))


async def _create(request: web.Request, form: Form) -> Environment:
    body = read_new_environment(form)
    caller, log = origin(request), request.app[ACCESS_LOG]
    if not request[CALLER].rights.covers_all(Scope.ADMIN, body.name):
        raise environment_foreign("an environment of this name")

    async def create(connection: Connection) -> Environment:
        environment = await writes.create_environment(connection, body, actor=caller.actor)
        await administration.record_creation(connection, log, environment, caller)
        return environment

    return await run_write(request, create, actor=caller.actor, answer_type=Environment)


def _new(
    request: web.Request, form: Form, errors: FormErrors | None, status: int = 200
) -> web.Response:
    return page(
        request,
        "environments/new.html",
        status=status,
        form=form,
        errors=errors,
        tiers=[str(tier) for tier in Tier],
    )


async def get_properties(request: web.Request) -> web.Response:
    """Show the properties of an environment."""
    state = await read_state(request)
    return _properties(request, state, properties_form(state.snapshot.environment))


async def post_properties(request: web.Request) -> web.Response:
    """Change the properties of an environment by one change set."""
    state = await read_state(request)
    entered = read_properties(await read_form(request))
    environment = state.snapshot.environment
    try:
        written = await save(request, [entered.patch()], entered.message)
    except Stale as error:
        # A newer snapshot may not have arrived yet.
        await request.app[FOLLOWER].try_refresh()
        current = own_snapshot(request, environment.name).environment
        merged, errors = entered.on_top_of(current), FormErrors.of(error)
        return _properties(request, state, merged, errors, stale=True, status=412)
    except AppError as error:
        status = shown_status(request, error)
        return _properties(request, state, entered, FormErrors.of(error), status=status)
    revision = written.change_sets[0].revision
    return redirect(frame(request, state).url("environment", saved=revision))


def _properties(
    request: web.Request,
    state: EnvironmentState,
    form: PropertiesForm,
    errors: FormErrors | None = None,
    *,
    stale: bool = False,
    refused: RefusedAction | None = None,
    status: int = 200,
) -> web.Response:
    return page(
        request,
        "environments/environment.html",
        state=state,
        status=status,
        form=form,
        errors=errors,
        stale=stale,
        refused=refused,
        count=len(state.snapshot.entries),
    )


async def post_environment_deletion(request: web.Request) -> web.Response:
    """Delete an environment with all its entries. Its name must be typed."""
    state = await read_state(request)
    form = await read_form(request)
    name = state.snapshot.environment.name
    try:
        check_typed_name(form, state.snapshot.environment)
        await _delete(request, name, read_version(form), form.get("message", ""))
    except AppError as error:
        status = shown_status(request, error)
        shown = properties_form(state.snapshot.environment)
        refused = RefusedAction(name="delete", errors=FormErrors.of(error), form=form)
        return _properties(request, state, shown, refused=refused, status=status)
    return redirect(frame(request).url_of("environments", deleted=name))


async def _delete(request: web.Request, name: str, version: int, message: str) -> None:
    expected = ExpectedVersion(version=version)
    wire.allow(request, DELETION_SECONDS)
    await run_write(
        request,
        lambda c: administration.delete_environment(
            edit_of(request, c), name, expected=expected, message=message
        ),
        actor=request[CALLER].actor,
        answer_type=Environment,
    )
    await request.app[TOKENS].refresh_if_possible()
    with suppress(Unavailable):
        await request.app[FOLLOWER].refresh()
