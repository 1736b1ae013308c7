"""The probes and the report of all checks, in the format of draft-inadarei-api-health-check-06.

They read memory and never query the database: it may be down.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import msgspec
from aiohttp import web

from app import VERSION
from app.access.guard import CALLER
from app.access.models import Scope
from app.components import Component, HealthCheck, HiddenCheck, ReportScope, Status
from app.health.heartbeat import WRITE_CHECK
from app.http.encoded import EncodedResponse, encoded
from app.http.lifecycle import Lifecycle
from app.tasks import Tasks

CONTENT_TYPE = "application/health+json"


class Readiness(msgspec.Struct, frozen=True, kw_only=True):
    """The part of the report that needs no token."""

    status: Status
    checks: dict[str, list[HealthCheck]]


class HealthReport(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    status: Status
    version: str
    release_id: str
    service_id: str
    instance: str
    checks: dict[str, list[HealthCheck]]


class Health:
    """Builds the report from the checks of the components, the tasks and the lifecycle."""

    def __init__(
        self,
        components: Sequence[Component],
        tasks: Tasks,
        lifecycle: Lifecycle,
        instance: str,
        ready_check: str = WRITE_CHECK,
    ) -> None:
        self.components = components
        self.tasks = tasks
        self.lifecycle = lifecycle
        self._instance = instance
        # The check that readiness shows without a token.
        self._ready_check = ready_check

    def readiness(self) -> Readiness:
        """Return the status of the report, from the same checks, without writing the report."""
        checks = self._checks(lambda _: True)
        statuses = {check.status for check in checks.values()}
        if not all(self.tasks.alive.values()):
            statuses.add(Status.WARN)
        # Only a token may see the reason of a failure.
        shown = msgspec.structs.replace(checks[self._ready_check], output=None)
        return Readiness(status=_worst(statuses), checks={self._ready_check: [shown]})

    def report(self, covers: Callable[[str], bool] = lambda _: True) -> HealthReport:
        """Return every check. The status includes environments that `covers` hides."""
        checks = {**self._checks(covers), **self._task_checks()}
        return HealthReport(
            status=_worst({check.status for check in checks.values()}),
            version=VERSION.partition(".")[0],
            release_id=VERSION,
            service_id="flagstone",
            instance=self._instance,
            checks={
                name: [check]
                for name, check in checks.items()
                if not isinstance(check, HiddenCheck)
            },
        )

    def _checks(self, covers: Callable[[str], bool]) -> dict[str, HealthCheck]:
        scope = ReportScope(covers=covers, can_serve=self.lifecycle.serving.is_set())
        checks = {"lifecycle": self._lifecycle_check(scope)}
        for component in self.components:
            checks |= component.checks(scope)
        return checks

    def _lifecycle_check(self, scope: ReportScope) -> HealthCheck:
        if self.lifecycle.draining.is_set():
            return HealthCheck(status=Status.FAIL, output="draining")
        if not self.lifecycle.started.is_set():
            return HealthCheck(status=scope.outage, output="starting")
        return HealthCheck(status=Status.PASS, output="started")

    def _task_checks(self) -> Mapping[str, HealthCheck]:
        """Only warn: each essential task has a separate check."""
        well = HealthCheck(status=Status.PASS)
        return {
            f"tasks:{name}": well
            if is_alive
            else HealthCheck(
                status=Status.WARN,
                consecutive_failures=self.tasks.failures[name],
                output="failed, is restarted; see task_failed in the log",
            )
            for name, is_alive in self.tasks.alive.items()
        }


def _worst(statuses: set[Status]) -> Status:
    return next(
        (status for status in (Status.FAIL, Status.WARN) if status in statuses), Status.PASS
    )


HEALTH: web.AppKey[Health] = web.AppKey("health", Health)


class ProbeStatus(msgspec.Struct, frozen=True):
    """The answer of a probe without details."""

    status: Status


async def get_liveness(request: web.Request) -> web.Response:
    """Check that the process is alive.

    It passes while the event loop runs. A failure means: restart the process.
    """
    return hot_liveness(request, b"")


def hot_liveness(_: web.Request, __: bytes) -> EncodedResponse:
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
    return hot_readiness(request, b"")


def hot_readiness(request: web.Request, _: bytes) -> EncodedResponse:
    readiness = request.app[HEALTH].readiness()
    return _respond(readiness, _code(readiness.status))


async def get_health(request: web.Request) -> web.Response:
    """Get the full health report.

    It names only the environments of the token.
    """
    report_ = request.app[HEALTH].report(partial(request[CALLER].rights.covers_all, Scope.READ))
    return _respond(report_, _code(report_.status))


def _code(status: Status) -> int:
    return 503 if status is Status.FAIL else 200


def _respond(body: msgspec.Struct, status: int) -> EncodedResponse:
    return encoded(msgspec.json.encode(body), CONTENT_TYPE, status=status)
