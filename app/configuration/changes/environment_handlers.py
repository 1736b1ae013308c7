"""HTTP handlers of environments."""

from contextlib import suppress

from aiohttp import web

from app.access.guard import ACCESS_LOG, CALLER, TOKENS, origin, readable_keys
from app.access.models import Scope
from app.access.people.access_writes import edit_of
from app.access.refusals import environment_foreign
from app.configuration.changes import administration, past, writes
from app.configuration.changes.administration import record_creation
from app.configuration.changes.intents import patch_of
from app.configuration.changes.properties import Intent
from app.configuration.changes.requests import EnvironmentPatch, NewEnvironment
from app.configuration.changes.write_options import message_of, read_options
from app.configuration.changes.write_requests import write_change_sets
from app.configuration.snapshots.limited import limited_environment
from app.configuration.snapshots.reading import (
    FOLLOWER,
    read_snapshot,
    snapshot_headers,
    stale_header,
    wait_until_served,
)
from app.database import Connection
from app.environments.models import Environment, EnvironmentList
from app.errors import Unavailable
from app.http import wire
from app.http.conditions import read_expected_version
from app.http.headers import revision_header
from app.http.keys import DATABASE
from app.http.writes import run_write

# The same as for an import.
DELETION_SECONDS = 20.0


async def list_environments(request: web.Request) -> web.Response:
    """List the environments of the token."""
    wire.read_query(request, set())
    rights, follower = request[CALLER].rights, request.app[FOLLOWER]

    items = [
        limited_environment(head, readable_keys(request, name))
        for name, head in follower.environments().items()
        if rights.covers(Scope.READ, name)
    ]

    return wire.answer(EnvironmentList(items=items), headers=stale_header(request))


async def get_environment(request: web.Request) -> web.Response:
    """Read an environment.

    Give `revision` or `at` to read a past state.
    """
    query = wire.read_query(request, {"revision", "at", "min_revision"})
    moment = wire.moment(query)
    if moment is None:
        snapshot = await read_snapshot(request, query)
        return wire.answer(snapshot.environment, headers=snapshot_headers(request, snapshot))

    async with request.app[DATABASE].connection() as connection:
        name = request.match_info["environment"]
        environment = await past.environment_at(connection, name, moment)

    headers = revision_header(environment.epoch, environment.revision)
    environment = limited_environment(environment, readable_keys(request))
    return wire.answer(environment, headers=headers)


async def patch_environment(request: web.Request) -> web.Response:
    """Change the properties of an environment.

    `If-Match` has the `version` of the environment. The body is a merge patch (RFC 7396). It makes
    one change set. Changing `fractional`, `protected` or `protection` needs the scope `admin`.
    """
    options = read_options(request)
    # GET sends no ETag: it would change with each revision, because the response has the revision.
    # Then an edit of any key would make a patch stale. The client sends `version` instead.
    expected = read_expected_version(request, may_create=False)
    body = await wire.read_body(request, EnvironmentPatch, types=wire.MERGE_PATCH)
    intent = Intent(patch=patch_of(body, expected))
    name, actor = request.match_info["environment"], request[CALLER].actor
    authority = options.authority(body.message)

    return await write_change_sets(
        request,
        lambda c: writes.apply(
            c, {name: intent}, actor=actor, message=body.message, authority=authority
        ),
        dry_run=options.dry_run,
    )


async def delete_environment(request: web.Request) -> web.Response:
    """Delete an environment.

    `If-Match` has the `version` of the environment. Its tokens and streams end, and its secrets are
    destroyed. Its history remains for verification only. The answer is its last state.
    """
    query = wire.read_query(request, {"dry_run", "message"})
    dry_run, message = wire.flag(query, "dry_run"), message_of(query)
    expected = read_expected_version(request, may_create=False)
    name = request.match_info["environment"]
    wire.allow(request, DELETION_SECONDS)

    closed = await run_write(
        request,
        lambda c: administration.delete_environment(
            edit_of(request, c), name, expected=expected, message=message
        ),
        actor=request[CALLER].actor,
        answer_type=Environment,
        dry_run=dry_run,
    )

    if not dry_run:
        await request.app[TOKENS].refresh_if_possible()
        with suppress(Unavailable):
            await request.app[FOLLOWER].refresh()
    headers = {} if dry_run else revision_header(closed.epoch, closed.revision)
    return wire.answer(closed, headers=headers)


async def create_environment(request: web.Request) -> web.Response:
    """Create an environment.

    The token must be for the new environment, by its name or by `*`.
    """
    dry_run = wire.flag(wire.read_query(request, {"dry_run"}), "dry_run")
    body = await wire.read_body(request, NewEnvironment)
    if not request[CALLER].rights.covers_all(Scope.ADMIN, body.name):
        raise environment_foreign()
    actor, log, caller = request[CALLER].actor, request.app[ACCESS_LOG], origin(request)

    async def create(connection: Connection) -> Environment:
        environment = await writes.create_environment(connection, body, actor=actor)
        await record_creation(connection, log, environment, caller)
        return environment

    environment = await run_write(
        request, create, actor=actor, answer_type=Environment, dry_run=dry_run
    )

    if dry_run:
        return wire.answer(environment)
    await wait_until_served(request, environment.name, environment.revision)
    headers = revision_header(environment.epoch, environment.revision)
    headers["Location"] = f"/v1/environments/{environment.name}"
    return wire.answer(environment, status=201, headers=headers)
