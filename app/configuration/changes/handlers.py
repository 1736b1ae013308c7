"""HTTP handlers of change sets and of the history."""

from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from app.access.guard import CALLER, readable_keys
from app.access.models import Scope
from app.access.refusals import environment_foreign, scope_missing
from app.configuration.changes import history, plans, writes
from app.configuration.changes.differences import between_environments, between_revisions
from app.configuration.changes.intents import contents_of, intents_of
from app.configuration.changes.requests import (
    NewChangeSet,
    PromotionRequest,
    RestoreRequest,
    RevertRequest,
)
from app.configuration.changes.views import AppliedChangeSets
from app.configuration.changes.write_options import WriteOptions, read_options
from app.configuration.changes.write_requests import CHECKS, write_change_sets
from app.configuration.snapshots.reading import FOLLOWER
from app.database import Connection
from app.errors import invalid, malformed
from app.http import wire
from app.http.keys import DATABASE
from app.http.writes import checked
from app.secrets.reveal import VAULT

# Comparing or writing 10,000 entries takes 1 to 2 s, and longer on a slow disk.
HEAVY_SECONDS = 20.0


async def list_change_sets(request: web.Request) -> web.Response:
    """List the change sets of an environment.

    The latest comes first.
    """
    query = wire.read_query(request, {"before", "limit"})
    before, limit = wire.before(query), wire.page_size(query)

    async with request.app[DATABASE].connection() as connection:
        page = await history.list_change_sets(
            connection,
            _environment(request),
            keys=readable_keys(request),
            before=before,
            limit=limit,
        )

    return wire.answer(page)


async def get_change_set(request: web.Request) -> web.Response:
    """Read a change set.

    Its changes come in pages, in the order of keys.
    """
    query = wire.read_query(request, {"after", "limit"})
    limit = wire.page_size(query)

    async with request.app[DATABASE].connection() as connection:
        change_set = await history.get_change_set(
            connection,
            _environment(request),
            int(request.match_info["revision"]),
            keys=readable_keys(request),
            after=query.get("after", ""),
            limit=limit,
        )

    return wire.answer(change_set)


async def list_configuration_history(request: web.Request) -> web.Response:
    """List the changes of a key.

    The latest comes first.
    """
    query = wire.read_query(request, {"before", "limit"})
    before, limit, key = wire.before(query), wire.page_size(query), request.match_info["key"]

    async with request.app[DATABASE].connection() as connection:
        page = await history.key_history(
            connection, _environment(request), key, before=before, limit=limit
        )

    return wire.answer(page)


async def create_change_set(request: web.Request) -> web.Response:
    """Write several keys in one transaction.

    The keys may be of several environments. All operations succeed or none does. Each operation has
    the version that the key must have, and 0 for a new key.
    """
    options = read_options(request)
    body = await wire.read_body(request, NewChangeSet)
    environment = _environment(request)
    for name in {operation.environment or environment for operation in body.operations}:
        _require(request, name)
    # The path must name an existing environment even if each operation names another.
    request.app[FOLLOWER].require(environment)
    check = request.app[CHECKS].run(
        contents_of(body), lambda check: intents_of(body, environment, check)
    )
    intents = await checked(request, check)
    actor, vault = request[CALLER].actor, request.app[VAULT]
    authority = options.authority(body.message)

    return await write_change_sets(
        request,
        lambda c: writes.apply(
            c, intents(), actor=actor, message=body.message, vault=vault, authority=authority
        ),
        dry_run=options.dry_run,
    )


async def revert_change_set(request: web.Request) -> web.Response:
    """Revert a change set.

    The inverse changes make a new revision. If a key was changed again since then, the answer is
    412 and nothing changes.
    """
    options = read_options(request)
    body = await wire.read_body(request, RevertRequest, answer_seconds=HEAVY_SECONDS)
    environment, revision = _environment(request), int(request.match_info["revision"])
    only = plans.narrowed(request[CALLER].rights, environment, body.prefixes)

    return await _write_plan(
        request,
        lambda c: plans.revert(c, environment, revision, keys=readable_keys(request), only=only),
        body.message,
        options,
    )


async def restore_environment(request: web.Request) -> web.Response:
    """Restore an environment to a past state.

    The changes make a new revision.
    """
    options = read_options(request)
    body = await wire.read_body(request, RestoreRequest, answer_seconds=HEAVY_SECONDS)
    moment = body.revision if body.at is None else body.at
    if moment is None or None not in (body.revision, body.at):
        raise invalid("revision", "must be given, or at, and not both")
    environment = _environment(request)
    only = plans.narrowed(request[CALLER].rights, environment, body.prefixes)

    return await _write_plan(
        request, lambda c: plans.restore(c, environment, moment, only=only), body.message, options
    )


async def promote_keys(request: web.Request) -> web.Response:
    """Copy keys from another environment.

    Segments that the keys use are copied too. The changes make one change set.
    """
    options = read_options(request)
    body = await wire.read_body(request, PromotionRequest, answer_seconds=HEAVY_SECONDS)
    _require(request, body.source, Scope.READ)
    target, rights = _environment(request), request[CALLER].rights

    return await _write_plan(
        request,
        lambda c: plans.promote(c, body.source, target, body.keys, rights=rights),
        body.message,
        options,
    )


async def _write_plan(
    request: web.Request,
    plan: Callable[[Connection], Awaitable[plans.ChangePlan]],
    message: str,
    options: WriteOptions,
) -> web.Response:
    actor, vault, authority = request[CALLER].actor, request.app[VAULT], options.authority(message)

    async def work(connection: Connection) -> AppliedChangeSets:
        return await writes.apply_plan(
            connection,
            await plan(connection),
            actor=actor,
            message=message,
            vault=vault,
            authority=authority,
            is_dry_run=options.dry_run,
        )

    return await write_change_sets(request, work, dry_run=options.dry_run)


async def get_difference(request: web.Request) -> web.Response:
    """Compare two revisions or two environments.

    Send `from`, and `to` unless it is the current revision. Or send `against` alone.
    """
    query = wire.read_query(request, {"from", "to", "against", "after", "limit"})
    page: dict[str, Any] = {"after_key": query.get("after", ""), "limit": wire.page_size(query)}
    before, after = (wire.whole_number(query, name) for name in ("from", "to"))
    against = query.get("against")
    environment = _environment(request)
    if (before is None) == (against is None) or (after is not None and against is not None):
        raise malformed("query", "must have from, perhaps with to, or against alone")
    keys = readable_keys(request)
    if against is not None:
        _require(request, against, Scope.READ)
        keys &= readable_keys(request, against)

    async with request.app[DATABASE].connection() as connection:
        if against is not None:
            difference = await between_environments(
                connection, environment, against, keys=keys, **page
            )
        else:
            difference = await between_revisions(
                connection, environment, before or 0, after, keys=keys, **page
            )

    return wire.answer(difference)


def _environment(request: web.Request) -> str:
    return request.match_info["environment"]


def _require(request: web.Request, environment: str, scope: Scope = Scope.PROPOSE) -> None:
    """Check the token for an environment that the body or the query names. Raises Forbidden."""
    rights = request[CALLER].rights
    if not rights.has(scope):
        raise scope_missing(scope)
    if not rights.covers(scope, environment):
        raise environment_foreign("every environment named")
