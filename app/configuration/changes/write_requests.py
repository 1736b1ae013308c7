"""Write change sets for a request, and answer with what the token may read of them."""

from collections.abc import Awaitable, Callable

import msgspec
from aiohttp import web

from app.access.guard import ACCESS_LOG, CALLER, origin
from app.configuration.changes.administration import (
    check_administration,
    record_administration,
    record_emergencies,
)
from app.configuration.changes.content_checks import ContentChecks
from app.configuration.changes.views import AppliedChangeSets, readable
from app.configuration.snapshots.reading import wait_until_served
from app.database import Connection
from app.http import wire
from app.http.headers import revision_header
from app.http.writes import run_write

CHECKS: web.AppKey[ContentChecks] = web.AppKey("checks", ContentChecks)


async def write_change_sets(
    request: web.Request,
    work: Callable[[Connection], Awaitable[AppliedChangeSets]],
    *,
    dry_run: bool,
) -> web.Response:
    """Run work that writes change sets, and answer with what the token may read of them."""
    written = await run_change_sets(request, work, dry_run=dry_run)
    headers: dict[str, str] = {}
    for change_set in written.change_sets:
        if not dry_run and change_set.environment == request.match_info["environment"]:
            headers = revision_header(change_set.epoch, change_set.revision)
    return wire.answer(written, headers=headers)


async def run_change_sets(
    request: web.Request,
    work: Callable[[Connection], Awaitable[AppliedChangeSets]],
    *,
    dry_run: bool,
) -> AppliedChangeSets:
    """Run work that writes change sets, and wait until this instance serves them.

    Return them as far as the token may read.
    """
    rights, log, caller = request[CALLER].rights, request.app[ACCESS_LOG], origin(request)

    async def permitted(connection: Connection) -> AppliedChangeSets:
        written = await work(connection)
        check_administration(written, rights)
        await record_administration(connection, log, written, caller)
        await record_emergencies(connection, log, written.change_sets, caller)
        return written

    written = await run_write(
        request, permitted, actor=caller.actor, answer_type=AppliedChangeSets, dry_run=dry_run
    )
    if not dry_run:
        for change_set in written.change_sets:
            await wait_until_served(request, change_set.environment, change_set.revision)
    return readable(msgspec.structs.replace(written, dry_run=dry_run), rights)
