"""`serve`: run the service until it gets a signal."""

import asyncio
import gc
import os
import sys
import threading
from collections.abc import Callable, Coroutine
from contextlib import ExitStack
from dataclasses import replace
from typing import Any, TypeVar

from aiohttp import web

from app import log
from app.access.guard import ACCESS_LOG, TOKENS
from app.access.models import PERSONAL_GRANT
from app.cli.sign_in import sign_in_link
from app.console.first_request import import_pages
from app.database.targets import open_targets
from app.errors import Unavailable
from app.http.keys import DATABASE, SETTINGS
from app.scripts import configured_settings, foreseen_errors
from app.server.application import create_app
from app.server.banner import has_banner, print_banner
from app.server.service_manager import ServiceManager
from app.server.serving import serve as serve_until_signal
from app.server.supervisor import Supervisor
from app.server.telemetry import import_telemetry
from app.server.workers import ONLY, Worker, report_started, stop_seconds_max
from app.settings import Settings, SettingsError, Tier

Result = TypeVar("Result")
STOP_ABORTED = 70
# A computing thread holds the interpreter for this long before the event loop can continue. Three
# such threads delay the loop by 20 ms with Python's default of 5 ms, and by 2 ms with this.
_SWITCH_SECONDS = 0.0005


def serve() -> None:
    """Run the service until Ctrl-C or SIGTERM.

    Applies the pending migrations first, unless MIGRATE_ON_START is false.

    Example: PORT=8081 python -m app serve

    Works on: the database of DATABASE_URL. Without it, this command starts the embedded PostgreSQL
    of DATA_DIR, and stops it at its end.

    Needs: nothing in the local tier; DATABASE_URL and TOKEN_KEY in the others.
    """
    settings = configured_settings()
    if settings.relay.upstream is not None:
        raise SettingsError([("RELAY_UPSTREAM", "is for `relay`; unset it to serve a database")])
    serve_with(settings)


def serve_relay() -> None:
    """Run the relay of RELAY_UPSTREAM until Ctrl-C or SIGTERM."""
    settings = configured_settings()
    if settings.relay.upstream is None:
        raise SettingsError([("RELAY_UPSTREAM", "is required, or --upstream URL")])
    serve_with(settings)


def serve_with(settings: Settings) -> None:
    """Run the service or the relay until Ctrl-C or SIGTERM."""
    for warning in settings.warnings:
        log.logger(__name__).warning("settings", problem=warning)
    manager = ServiceManager(os.environ.get("NOTIFY_SOCKET"))
    if settings.http.workers == 1:
        _run(_serve(settings, ONLY, manager))
    else:
        sys.exit(_supervise(settings, manager))


def run() -> None:
    """Run `python -m app serve` without the command line. A foreseen error is one line."""
    with foreseen_errors():
        serve()


def run_relay() -> None:
    """Run `python -m app relay` without the command line. A foreseen error is one line."""
    with foreseen_errors():
        serve_relay()


def _run(main: Coroutine[Any, Any, Result]) -> Result:
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(main)


async def _serve(settings: Settings, worker: Worker, manager: ServiceManager) -> None:
    sys.setswitchinterval(_SWITCH_SECONDS)
    # No collection visits the modules again: none of them is ever freed.
    gc.freeze()
    app = create_app(settings, worker)

    async def announce() -> None:
        report_started(worker)
        if worker is ONLY:
            print_banner(settings, await _sign_in_link(app))

    def limit_stop() -> None:
        limit = threading.Timer(stop_seconds_max(settings.http), _abort_stop)
        limit.daemon = True
        limit.start()

    await serve_until_signal(app, announce, limit_stop, worker, manager)


async def _sign_in_link(app: web.Application) -> str | None:
    """Return a link to the console for the banner of the local tier, if the database answers."""
    settings = app[SETTINGS]
    is_relay = settings.relay.upstream is not None
    if is_relay or settings.tier is not Tier.LOCAL or not has_banner(settings):
        return None
    log_, key = app[ACCESS_LOG], app[TOKENS].key
    try:
        return await app[DATABASE].transact(
            lambda c: sign_in_link(c, log_, key, settings, PERSONAL_GRANT)
        )
    except Unavailable:
        return None


def _abort_stop() -> None:
    """End the process, from a thread: the event loop may be blocked."""
    log.logger(__name__).error("stop_aborted")
    sys.stdout.flush()
    os._exit(STOP_ABORTED)


def _supervise(settings: Settings, manager: ServiceManager) -> int:
    def run_worker(worker: Worker) -> None:
        instance = f"{settings.instance}.{worker.number}"
        with foreseen_errors():
            # The supervisor reports for its workers.
            _run(_serve(replace(settings, instance=instance), worker, ServiceManager(None)))

    # Once, for all workers. A relay has no pages.
    if settings.relay.upstream is None:
        import_pages()
    if settings.telemetry.is_on:
        import_telemetry()
    with ExitStack() as stack:
        if settings.database.target is None and settings.relay.upstream is None:
            # Hold the embedded server, so that it survives a worker that is killed.
            stack.enter_context(open_targets(settings))
        return Supervisor(settings, run_worker, manager).run(lambda: print_banner(settings))


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    if sys.platform == "win32":
        return None
    import uvloop  # noqa: PLC0415 - not made for Windows

    return uvloop.new_event_loop
