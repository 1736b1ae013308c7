"""`serve`: run the service until a signal."""

import asyncio
import os
import sys
import threading
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from app import log
from app.access.local_credentials import ADMIN_TOKEN_FILE
from app.database.opening import held_targets
from app.server.application import create_app
from app.server.serving import serve as run
from app.server.workers import ONLY, Supervisor, Worker, report_started, stop_seconds_max
from app.settings import Settings, Tier, load

Result = TypeVar("Result")
STOP_ABORTED = 70
# A thread that computes keeps the interpreter for as long before the event loop gets its turn.
# With Python's 5 ms, three such threads delay each turn by 20 ms; with this, by 2 ms.
_SWITCH_SECONDS = 0.0005
# Where the banner's URLs lead when the service listens on every address.
_LOOPBACK = {"*": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared


def serve() -> None:
    """Run the service; Ctrl-C or SIGTERM stops it in order."""
    settings = _prepared()
    for warning in settings.warnings:
        log.logger(__name__).warning("settings", problem=warning)
    if settings.http.workers == 1:
        _run(_serve(settings, ONLY))
        return
    sys.exit(_run(_supervise(settings)))


def serve_worker(
    number: Annotated[int, typer.Option()],
    socket: Annotated[list[int], typer.Option()],
    lifeline: Annotated[int, typer.Option()],
    folder: Annotated[Path, typer.Option()],
    *,
    first: Annotated[bool, typer.Option("--first")] = False,
) -> None:
    """Be one of several workers; started by `serve` alone."""
    worker = Worker(
        number=number,
        is_first=first,
        sockets=tuple(socket),
        lifeline=lifeline,
        folder=folder,
    )
    _run(_serve(_prepared(), worker))


def _prepared() -> Settings:
    settings = load()
    log.configure(settings.log.level, settings.log.format)
    return settings


def _run(main: Coroutine[Any, Any, Result]) -> Result:
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(main)


async def _serve(settings: Settings, worker: Worker) -> None:
    sys.setswitchinterval(_SWITCH_SECONDS)

    async def announce() -> None:
        report_started(worker)
        if worker is ONLY:
            await _announce(settings)

    def limit_stop() -> None:
        limit = threading.Timer(stop_seconds_max(settings.http), _abort_stop)
        limit.daemon = True
        limit.start()

    await run(create_app(settings, worker), announce, limit_stop, worker)


def _abort_stop() -> None:
    """End the process from a thread: whatever holds up the stop may hold the event loop too."""
    log.logger(__name__).error("stop_aborted")
    sys.stdout.flush()
    os._exit(STOP_ABORTED)


async def _supervise(settings: Settings) -> int:
    async with AsyncExitStack() as stack:
        if settings.database.target is None:
            # A user of the embedded server as its workers are: one that is killed stops nothing.
            await stack.enter_async_context(held_targets(settings))
        return await Supervisor(settings).run(lambda: _announce(settings))


async def _announce(settings: Settings) -> None:
    if settings.tier is Tier.LOCAL:
        typer.echo(_banner(settings), err=True)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    if sys.platform == "win32":
        return None
    import uvloop  # noqa: PLC0415 - not made for Windows

    return uvloop.new_event_loop


def _banner(settings: Settings) -> str:
    first = _LOOPBACK.get(settings.http.hosts[0], settings.http.hosts[0])
    host = f"[{first}]" if ":" in first else first
    url = f"http://{host}:{settings.http.port}"
    token_file = settings.data_dir / ADMIN_TOKEN_FILE
    return f"""
  Flagstone is ready.

  API      {url}/v1/environments
  Health   {url}/health/ready
  Token    {token_file}

  curl -H "Authorization: Bearer $(cat '{token_file}')" {url}/v1/environments/local/configurations
"""
