"""The pages of health, the doctor and the schema."""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial

from aiohttp import web

from app.access.guard import CALLER
from app.access.models import EVERY_ENVIRONMENT, Scope
from app.access.refusals import BY_ADMINISTRATOR
from app.console.health.heartbeats import BARS, HEIGHT, WIDTH, Strip, read_strips
from app.console.health.views import (
    SPARK_HEIGHT,
    SPARK_WIDTH,
    check_rows,
    environment_rows,
    running_tasks,
)
from app.console.pages import is_fragment
from app.console.rendering import frame, page
from app.errors import Forbidden, Unavailable
from app.health.handlers import HEALTH
from app.http import wire
from app.http.keys import DATABASE, SETTINGS
from app.operations.doctor.examination import CHECK_SECONDS, CHECKS, examine
from app.operations.doctor.findings import Finding, worst
from app.schema.handlers import read_changes, read_ledger
from app.schema.models import MigrationList
from app.settings import Settings
from app.threads import ThreadLimiter

DOCTOR_LIMITER: web.AppKey[ThreadLimiter] = web.AppKey("doctor_limiter", ThreadLimiter)
_DOCTOR_SECONDS = 60.0
_DOCTOR_WAIT_SECONDS = 2.0
# The proof of the whole history takes minutes: `python -m app doctor` has it.
_QUICK_CHECKS = tuple(check for check in CHECKS if check.seconds <= CHECK_SECONDS)
_PAGE_SIZE = 100


def add_health(app: web.Application) -> None:
    """Store what the pages share in the application."""
    app[DOCTOR_LIMITER] = ThreadLimiter(_DOCTOR_WAIT_SECONDS)


async def get_health(request: web.Request) -> web.Response:
    """Show the health of this instance. The page refreshes itself."""
    report = request.app[HEALTH].report(_is_visible(request))
    strips, problem = await _strips(request)
    return page(
        request,
        "health/_report.html" if is_fragment(request) else "health/health.html",
        report=report,
        rows=check_rows(report.checks),
        tasks=running_tasks(report.checks),
        pool=report.checks["pool:utilization"][0],
        strips=strips,
        problem=problem,
        strip_size=(BARS * WIDTH, HEIGHT),
        spark_size=(SPARK_WIDTH, SPARK_HEIGHT),
        environments=await environment_rows(request, frame(request)),
        may_examine=_may_examine(request),
    )


async def get_doctor(request: web.Request) -> web.Response:
    """Examine the installation now, and show the findings. It changes nothing."""
    if not _may_examine(request):
        raise Forbidden(
            "environment_foreign",
            "The doctor examines the whole installation: it needs the scope admin for all keys in "
            f"all environments. {BY_ADMINISTRATOR}",
        )
    settings = request.app[SETTINGS]
    findings = await request.app[DOCTOR_LIMITER].run("doctor", lambda: _examine(settings))
    return page(
        request,
        "health/_findings.html" if is_fragment(request) else "health/doctor.html",
        findings=findings,
        verdict=worst(findings),
    )


async def get_schema(request: web.Request) -> web.Response:
    """Show the ledger of migrations, and for administrators the recorded schema changes."""
    may_audit = request[CALLER].rights.has_all_keys([Scope.ADMIN], None)
    before = wire.before({name: text for name, text in request.query.items() if text})
    ledger, audit, problem = MigrationList(items=[]), None, ""
    try:
        async with request.app[DATABASE].connection() as connection:
            ledger = await read_ledger(connection)
            if may_audit:
                audit = await read_changes(connection, before=before, limit=_PAGE_SIZE)
    except Unavailable as error:
        if is_fragment(request):
            raise
        problem = error.message
    checks = request.app[HEALTH].report(_is_visible(request)).checks
    return page(
        request,
        "health/_schema_changes.html" if is_fragment(request) else "health/schema.html",
        status=503 if problem else 200,
        migrations=ledger.items,
        audit=audit,
        problem=problem,
        pending=checks["migrations:pending"][0],
        drift=checks["schema:drift"][0],
    )


async def _strips(request: web.Request) -> tuple[Sequence[Strip], str]:
    """Return the strips, or why they cannot be read."""
    try:
        async with request.app[DATABASE].connection() as connection:
            return await read_strips(connection, request.app[SETTINGS].health), ""
    except Unavailable as error:
        return (), error.message


def _may_examine(request: web.Request) -> bool:
    rights = request[CALLER].rights
    return EVERY_ENVIRONMENT in rights.environments(Scope.ADMIN, all_keys=True)


def _is_visible(request: web.Request) -> Callable[[str], bool]:
    """Return whether the caller sees the checks of an environment: who may read all its keys."""
    return partial(request[CALLER].rights.covers_all, Scope.READ)


def _examine(settings: Settings) -> list[Finding]:
    """Run the doctor on its own event loop, since it reads files. Call it in a thread."""

    async def examine_in_time() -> list[Finding]:
        try:
            async with asyncio.timeout(_DOCTOR_SECONDS):
                return await examine(settings, checks=_QUICK_CHECKS)
        except TimeoutError:
            raise Unavailable(
                "doctor_timeout", f"The doctor took longer than {_DOCTOR_SECONDS:.0f} s."
            ) from None

    return asyncio.run(examine_in_time())
