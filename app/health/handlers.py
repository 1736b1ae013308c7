"""The probes. They read memory and never query the database: it may be in trouble just then."""

from datetime import UTC, datetime

import msgspec
from aiohttp import web

from app.access.guard import CALLER
from app.components import HealthCheck, HealthCheckRow, Status
from app.health.report import Health, Readiness

HEALTH: web.AppKey[Health] = web.AppKey("health", Health)
CONTENT_TYPE = "application/health+json"


_CHECKED_AT = datetime(2026, 3, 14, 9, 26, 53, 589793, UTC)
READINESS_EXAMPLE = Readiness(
    status=Status.PASS,
    checks={
        "database:write": [
            HealthCheck(
                status=Status.PASS,
                component_type="datastore",
                observed_value=1.207,
                observed_unit="ms",
                time=_CHECKED_AT,
                age_seconds=4.2,
                consecutive_failures=0,
                row=HealthCheckRow(
                    id=1042,
                    status="ok",
                    checked_at=_CHECKED_AT,
                    latency_ms=1.207,
                    instance="flagstone-1",
                ),
            )
        ]
    },
)


class Answer(msgspec.Struct, frozen=True):
    """The status alone."""

    status: Status


async def live(_: web.Request) -> web.Response:
    """Answer for as long as the event loop turns; a restart mends nothing else."""
    return _respond(Answer(Status.PASS), 200)


async def started(request: web.Request) -> web.Response:
    """Tell whether the start has got as far as serving, if only what was known last."""
    done = request.app[HEALTH].lifecycle.serving.is_set()
    return _respond(Answer(Status.PASS if done else Status.FAIL), 200 if done else 503)


async def ready(request: web.Request) -> web.Response:
    """Report whether to send requests here, and the last row of health_check."""
    readiness = request.app[HEALTH].readiness()
    return _respond(readiness, _code(readiness.status))


async def report(request: web.Request) -> web.Response:
    """Give the whole report to a token with the scope read; it names the token's environments."""
    found = request.app[HEALTH].report(request[CALLER].grant.covers)
    return _respond(found, _code(found.status))


def _code(status: Status) -> int:
    return 503 if status is Status.FAIL else 200


def _respond(body: msgspec.Struct, status: int) -> web.Response:
    return web.Response(status=status, body=msgspec.json.encode(body), content_type=CONTENT_TYPE)
