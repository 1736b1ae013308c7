"""Read and change access for the pages, by the services and checks of the API."""

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from aiohttp import web

from app.access.guard import CALLER, TOKENS
from app.access.models import EVERY_ENVIRONMENT, Scope
from app.access.people import grants
from app.access.people.access_writes import edit_of
from app.access.people.edit import AccessEdit
from app.access.people.models import RoleGrant
from app.access.permissions import Rights
from app.console.pages import is_fragment
from app.console.rendering import page
from app.database import Connection
from app.errors import Unavailable, malformed
from app.http.conditions import ExpectedVersion
from app.http.keys import DATABASE

Result = TypeVar("Result")
# Reads everything that a page shows, as names for its template.
Read = Callable[[Connection], Awaitable[dict[str, Any]]]


def own_rights(request: web.Request) -> Rights:
    return request[CALLER].rights


def is_full_administrator(request: web.Request) -> bool:
    """Return whether the caller administers all keys of all environments."""
    return own_rights(request).covers_all(Scope.ADMIN, EVERY_ENVIRONMENT)


async def read_current(request: web.Request) -> None:
    """Read what other instances have changed, so that pages show it from memory.

    Call it without a connection: it takes one of its own.
    """
    await request.app[TOKENS].refresh_if_possible()


async def list_page(request: web.Request, template: str, read: Read) -> web.Response:
    """Show a list. While the database is away, the page says so in its place."""
    await read_current(request)
    try:
        async with request.app[DATABASE].connection() as connection:
            data = await read(connection)
    except Unavailable as error:
        if is_fragment(request):
            raise
        return page(request, template, status=503, problem=error.message)
    return page(request, template, problem="", **data)


def visible_grants(request: web.Request) -> list[RoleGrant]:
    """Return the grants that the caller may see, from memory: at most 5,000.

    Those that were changed outside of the service are among them, for the remark.
    """
    directory = request.app[TOKENS].people
    ignored = [row for row in directory.unsigned if isinstance(row, RoleGrant)]
    return grants.visible(own_rights(request), [*directory.book.grants, *ignored])


def expected_version(text: str) -> ExpectedVersion:
    """Return the version that a form began with. Raises Malformed for a form that is not ours."""
    if not (text.isascii() and text.isdecimal() and len(text) <= 18):
        raise malformed("version", "must be a whole number")
    return ExpectedVersion(int(text))


async def edit(request: web.Request, work: Callable[[AccessEdit], Awaitable[Result]]) -> Result:
    """Do the work in one transaction. Afterwards this instance has the new rights in memory."""
    result = await request.app[DATABASE].transact(lambda c: work(edit_of(request, c)))
    await request.app[TOKENS].refresh_if_possible()
    return result
