"""The probes and the report. They read memory and never query the database: it may be down."""

import msgspec
from aiohttp import web

from app.access.guard import CALLER
from app.components import Status
from app.health.report import Health

HEALTH: web.AppKey[Health] = web.AppKey("health", Health)
CONTENT_TYPE = "application/health+json"


class ProbeStatus(msgspec.Struct, frozen=True):
    """The answer of a probe without details."""

    status: Status


async def get_liveness(_: web.Request) -> web.Response:
    """Check that the process is alive.

    It passes while the event loop runs. A failure means: restart the process.
    """
    return _respond(ProbeStatus(Status.PASS), 200)


async def get_startup(request: web.Request) -> web.Response:
    """Check that the process has started.

    It passes once the process can serve, even if only from the snapshot on disk.
    """
    is_serving = request.app[HEALTH].lifecycle.serving.is_set()
    return _respond(
        ProbeStatus(Status.PASS if is_serving else Status.FAIL), 200 if is_serving else 503
    )


async def get_readiness(request: web.Request) -> web.Response:
    """Check that the process can take requests.

    Includes the last row that this instance wrote to `health_check`.
    """
    readiness = request.app[HEALTH].readiness()
    return _respond(readiness, _code(readiness.status))


async def get_health(request: web.Request) -> web.Response:
    """Get the full health report.

    It names only the environments of the token.
    """
    report_ = request.app[HEALTH].report(request[CALLER].grant.covers)
    return _respond(report_, _code(report_.status))


def _code(status: Status) -> int:
    return 503 if status is Status.FAIL else 200


def _respond(body: msgspec.Struct, status: int) -> web.Response:
    return web.Response(status=status, body=msgspec.json.encode(body), content_type=CONTENT_TYPE)
