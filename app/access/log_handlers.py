"""The endpoint that lists the access log."""

from datetime import datetime

import msgspec
from aiohttp import web

from app.access.actors import actor_names
from app.access.events import AccessEvent, Decision
from app.access.guard import CALLER
from app.access.models import EVERY_ENVIRONMENT, Scope
from app.access.permissions import Rights
from app.access.refusals import environment_foreign
from app.database import Connection, sql
from app.errors import malformed
from app.http import wire
from app.http.keys import DATABASE
from app.names import ENVIRONMENT_RULE, is_environment


class AccessView(msgspec.Struct, frozen=True, kw_only=True):
    """One access, or a group of `count` equal refusals from `at` to `last_at`.

    The other fields of a group belong to its first refusal. `token_id` is the ID of the presented
    token, valid or not. `resource` is a key, or the ID of another token.
    """

    id: int
    at: datetime
    last_at: datetime
    count: int
    event: str
    decision: Decision
    actor: str
    actor_name: str = ""
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
    """A page of accesses. `next` is the `before` of the next page, null on the last page."""

    items: list[AccessView]
    next: int | None


async def list_access_log(request: web.Request) -> web.Response:
    """List the access log.

    The latest comes first. A token with a list of environments sees only their rows.
    """
    query = wire.read_query(request, {"before", "limit", "event", "environment"})
    before, limit = wire.before(query), wire.page_size(query)
    event = wire.choice(query, "event", AccessEvent)
    environment = query.get("environment")
    check_environment(request[CALLER].rights, environment)

    async with request.app[DATABASE].connection() as connection:
        page = await read_page(
            connection,
            request[CALLER].rights,
            before=before,
            limit=limit,
            event=event,
            environment=environment,
        )

    return wire.answer(page)


def check_environment(rights: Rights, environment: str | None) -> None:
    """Check the name of an environment, and that the caller may see its rows.

    Raises Malformed and Forbidden. None is every environment of the caller.
    """
    if environment is None:
        return
    if not is_environment(environment):
        raise malformed("environment", ENVIRONMENT_RULE)
    if not rights.covers_all(Scope.ADMIN, environment):
        raise environment_foreign()


async def read_page(
    connection: Connection,
    rights: Rights,
    *,
    before: int,
    limit: int,
    event: AccessEvent | None,
    environment: str | None,
) -> AccessPage:
    """Return the accesses that the caller may see, the latest first."""
    visible = rights.environments(Scope.ADMIN, all_keys=True)
    rows = sql.list_accesses(
        connection,
        before=before,
        event=event,
        environment=environment,
        environments=None if EVERY_ENVIRONMENT in visible else list(visible),
        # One more row than the page has shows whether there is another page.
        page_size=limit + 1,
    )
    accesses = [row async for row in rows]
    names = await actor_names(connection, [row["actor"] for row in accesses])
    items = [AccessView(**row, actor_name=names[row["actor"]]) for row in accesses[:limit]]
    is_last = len(accesses) <= limit
    return AccessPage(items=items, next=None if is_last else items[-1].id)
