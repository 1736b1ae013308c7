"""The HTTP side of the access log, which is read and nothing else."""

from datetime import datetime

import msgspec
from aiohttp import web

from app.access.events import AccessEvent, Decision
from app.access.guard import CALLER
from app.access.models import EVERY_ENVIRONMENT
from app.database import sql
from app.errors import Forbidden, malformed
from app.http import wire
from app.http.keys import DATABASE
from app.names import ENVIRONMENT_RULE, is_environment

_LATEST = 2**63 - 1


class AccessView(msgspec.Struct, frozen=True, kw_only=True):
    """One access. `count` is above 1 where equal refusals were gathered, from `at` to `last_at`;
    the rest is then of the first of them.

    `token_id` is that of the token that was shown, good or not; `resource` is a key, or the id of
    another token.
    """

    id: int
    at: datetime
    last_at: datetime
    count: int
    event: str
    decision: Decision
    actor: str
    token_id: str | None
    client: str | None
    request_id: str | None
    method: str | None
    route: str | None
    environment: str | None
    resource: str | None
    version: int | None
    detail: str | None


class AccessPage(msgspec.Struct, frozen=True, kw_only=True):
    """A page of accesses. `next` is the `before` of the page after this one, null on the last."""

    items: list[AccessView]
    next: int | None


async def list_accesses(request: web.Request) -> web.Response:
    """List the access log.

    The latest comes first. A token that is not for every environment sees only rows of its own.
    """
    query = wire.read_query(request, {"before", "limit", "event", "environment"})
    before, limit = wire.whole_number(query, "before"), wire.page_size(query)
    event = wire.choice(query, "event", AccessEvent)
    environment = query.get("environment")
    if environment is not None and not is_environment(environment):
        raise malformed("environment", ENVIRONMENT_RULE)
    grant = request[CALLER].grant
    if environment is not None and not grant.covers(environment):
        raise Forbidden("environment_foreign", "The token is not for this environment.")
    has_all = EVERY_ENVIRONMENT in grant.environments

    async with request.app[DATABASE].connection() as connection:
        rows = sql.list_accesses(
            connection,
            before=_LATEST if before is None else before,
            event=event,
            environment=environment,
            environments=None if has_all else list(grant.environments),
            # One more than is shown tells whether there is another page.
            page_size=limit + 1,
        )
        found = [AccessView(**row) async for row in rows]

    items = found[:limit]
    return wire.answer(AccessPage(items=items, next=items[-1].id if len(found) > limit else None))
