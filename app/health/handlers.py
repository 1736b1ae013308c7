"""The probes. They read memory and never ask the database: not in the moment when it suffers."""

import msgspec
from aiohttp import web

from app.health.check import Status
from app.health.report import Health

HEALTH: web.AppKey[Health] = web.AppKey("health", Health)
CONTENT_TYPE = "application/health+json"


class Answer(msgspec.Struct, frozen=True):
    """What a probe without a token learns."""

    status: Status


async def live(_: web.Request) -> web.Response:
    """Answer for as long as the event loop turns; a restart mends nothing else."""
    return _respond(Answer(Status.PASS), 200)


async def started(request: web.Request) -> web.Response:
    """Tell whether the start has got as far as serving, if only what was known last."""
    done = request.app[HEALTH].lifecycle.serving.is_set()
    return _respond(Answer(Status.PASS if done else Status.FAIL), 200 if done else 503)


async def ready(request: web.Request) -> web.Response:
    """Tell whether requests should be sent here."""
    status = request.app[HEALTH].report().status
    return _respond(Answer(status), _code(status))


async def report(request: web.Request) -> web.Response:
    """Give the whole report, to a token with the scope read."""
    found = request.app[HEALTH].report()
    return _respond(found, _code(found.status))


def _code(status: Status) -> int:
    return 503 if status is Status.FAIL else 200


def _respond(body: msgspec.Struct, status: int) -> web.Response:
    return web.Response(status=status, body=msgspec.json.encode(body), content_type=CONTENT_TYPE)
