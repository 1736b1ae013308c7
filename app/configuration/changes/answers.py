"""Doing a write for a request and answering it: the one way for all that make change sets."""

import msgspec
from aiohttp import web

from app.access.guard import ACCESS_LOG, CALLER, origin
from app.access.models import Scope
from app.configuration.changes.administration import check_administration, record_administration
from app.configuration.changes.checks import ContentChecks
from app.configuration.changes.views import MadeChangeSets, without_before
from app.configuration.changes.writes import Work
from app.configuration.snapshots.reading import settle
from app.database import Connection
from app.http import wire
from app.http.dry_run import transact_in
from app.http.headers import revision_header
from app.http.idempotency import once
from app.http.idempotency_key import read_repeatable
from app.http.keys import DATABASE

CHECKS: web.AppKey[ContentChecks] = web.AppKey("checks", ContentChecks)


def read_dry_run(request: web.Request) -> bool:
    return wire.flag(wire.read_query(request, {"dry_run"}), "dry_run")


async def write(request: web.Request, work: Work, *, dry_run: bool) -> web.Response:
    """Do the work, once for each Idempotency-Key, and answer with what it made."""
    repeatable = await read_repeatable(request, dry_run=dry_run)
    actor, grant = request[CALLER].actor, request[CALLER].grant
    log, caller = request.app[ACCESS_LOG], origin(request)

    async def permitted(connection: Connection) -> MadeChangeSets:
        made = await work(connection)
        check_administration(made, grant)
        await record_administration(connection, log, made, caller)
        return made

    environment = request.match_info["environment"]
    made = await transact_in(
        environment,
        request.app[DATABASE],
        lambda c: once(
            c, repeatable, actor=actor, answer_type=MadeChangeSets, work=lambda: permitted(c)
        ),
        dry_run=dry_run,
    )

    made = msgspec.structs.replace(made, dry_run=dry_run)
    if not grant.allows(Scope.READ):
        made = without_before(made)
    own = [each for each in made.change_sets if each.environment == environment]
    if not dry_run:
        for each in made.change_sets:
            await settle(request, each.environment, each.revision)
    headers = revision_header(own[0].epoch, own[0].revision) if own and not dry_run else {}
    return wire.answer(made, headers=headers)
