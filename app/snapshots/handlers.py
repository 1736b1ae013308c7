"""The HTTP side of environments: what there is, as the snapshots have it."""

from aiohttp import web

from app.access.guard import CALLER
from app.environments.models import EnvironmentList
from app.http import wire
from app.snapshots.reading import FOLLOWER, moment_headers, read_snapshot, stale_header


async def list_environments(request: web.Request) -> web.Response:
    """List the environments that the token is for."""
    wire.read_query(request, set())
    grant, follower = request[CALLER].token.grant, request.app[FOLLOWER]

    snapshots = [each for name, each in follower.loaded().items() if grant.covers(name)]

    found = EnvironmentList(items=[each.environment for each in snapshots])
    return wire.answer(found, headers=stale_header(request))


async def get_environment(request: web.Request) -> web.Response:
    """Read one environment."""
    query = wire.read_query(request, {"min_revision"})

    snapshot = await read_snapshot(request, query)

    return wire.answer(snapshot.environment, headers=moment_headers(request, snapshot))
