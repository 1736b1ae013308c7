"""The HTTP side of environments."""

from aiohttp import web

from app.access.guard import CALLER
from app.environments import service
from app.environments.models import EnvironmentList
from app.http import wire
from app.http.keys import DATABASE


async def list_environments(request: web.Request) -> web.Response:
    """List the environments that the token is for."""
    wire.read_query(request, set())
    grant = request[CALLER].token.grant

    async with request.app[DATABASE].connection() as connection:
        found = await service.list_all(connection)

    return wire.answer(EnvironmentList(items=[each for each in found if grant.covers(each.name)]))


async def get_environment(request: web.Request) -> web.Response:
    """Read one environment."""
    wire.read_query(request, set())

    async with request.app[DATABASE].connection() as connection:
        found = await service.get(connection, request.match_info["environment"])

    return wire.answer(found, headers=wire.revision_header(found.epoch, found.revision))
