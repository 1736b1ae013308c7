"""Answer the requests that change tokens, people, roles, grants and projects.

The services make all checks of rights and of fields.
"""

from collections.abc import Awaitable, Callable
from typing import TypeVar

import msgspec
from aiohttp import web

from app.access.guard import ACCESS_LOG, CALLER, TOKENS, origin
from app.access.people.edit import AccessEdit
from app.access.people.models import Person, Project, Role, RoleGrant
from app.database import Connection
from app.http import wire
from app.http.headers import entity_tag
from app.http.writes import run_write

View = TypeVar("View", bound=msgspec.Struct)
Row = TypeVar("Row", Person, Role, RoleGrant, Project)


async def write_access(
    request: web.Request,
    work: Callable[[AccessEdit], Awaitable[Row]],
    view_of: Callable[[AccessEdit, Row], Awaitable[View]],
    view_type: type[View],
) -> View:
    """Make a change once per Idempotency-Key, and refresh this instance. Return its view."""

    async def write(connection: Connection) -> View:
        edit = edit_of(request, connection)
        return await view_of(edit, await work(edit))

    view = await run_write(request, write, actor=request[CALLER].actor, answer_type=view_type)
    await request.app[TOKENS].refresh_if_possible()
    return view


def edit_of(request: web.Request, connection: Connection) -> AccessEdit:
    """Return the change of access that the caller makes in a transaction."""
    return AccessEdit(
        connection=connection,
        log=request.app[ACCESS_LOG],
        key=request.app[TOKENS].key,
        origin=origin(request),
        author=request[CALLER],
    )


def created(body: msgspec.Struct, location: str, *, version: int | None = None) -> web.Response:
    tag = {} if version is None else {"ETag": entity_tag(version, "")}
    return wire.answer(body, status=201, headers={"Location": location} | tag)
