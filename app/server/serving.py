"""Serving and stopping: aiohttp's `run_app` closes the listener before readiness can say so."""

import asyncio
import signal
import socket
from collections.abc import Awaitable, Callable
from functools import partial

from aiohttp import web

from app.http.keys import LIFECYCLE, SETTINGS
from app.http.lifecycle import Lifecycle
from app.http.protocol import Runner
from app.log import logger
from app.server.listening_socket import BACKLOG, bind
from app.server.workers import ONLY, Worker, beat_lifeline, watch_lifeline

log = logger(__name__)


async def serve(
    app: web.Application,
    on_started: Callable[[], Awaitable[None]],
    on_stopping: Callable[[], None],
    worker: Worker = ONLY,
) -> None:
    """Serve until a signal, or until the start fails for good; then stop in order.

    The order: readiness fails, the drain time passes, the listener closes, requests finish, and the
    application closes what it opened. `on_started` is called once it serves, `on_stopping` once it
    begins to stop. Raises what ended the start, or what did not stop.
    """
    lifecycle, settings = app[LIFECYCLE], app[SETTINGS].http
    loop = asyncio.get_running_loop()
    received: list[signal.Signals] = []

    def on_signal(number: signal.Signals) -> None:
        received.append(number)
        lifecycle.draining.set()
        lifecycle.stopping.set()

    # Before anything slow, so that a signal during the start is not lost.
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        loop.add_signal_handler(number, on_signal, number)
    runner = Runner(app)
    try:
        await runner.setup()
        watch_lifeline(worker, lifecycle.stopping.set)
        listening = asyncio.create_task(_listen(runner, worker), name="listen")
        listening.add_done_callback(partial(_end_if_deaf, lifecycle))
        if worker.is_first:
            await listening
        beating = asyncio.create_task(beat_lifeline(worker), name="beat")
        announcing = asyncio.create_task(_announce(app, on_started), name="announce")
        await lifecycle.stopping.wait()
        on_stopping()
        announcing.cancel()
        listening.cancel()
        beating.cancel()
        lifecycle.draining.set()
        log.info("draining", signal=received[0].name if received else "none")
        # Ctrl-C is a person who waits; SIGTERM is a load balancer that needs time to look.
        if received and received[0] is signal.SIGTERM:
            await asyncio.sleep(settings.drain_seconds)
    finally:
        await runner.cleanup()
    log.info("stopped")
    if lifecycle.failure is not None:
        raise lifecycle.failure


def _end_if_deaf(lifecycle: Lifecycle, listening: asyncio.Task[None]) -> None:
    """End a process that cannot take connections: another one may be able to."""
    if not listening.cancelled() and (error := listening.exception()) is not None:
        lifecycle.fail(error)


async def _listen(runner: Runner, worker: Worker) -> None:
    """Take connections: the first process at once, so that liveness is answered during a start.

    The others once they have something to say, as the first would have said it by then.
    """
    if not worker.is_first:
        await runner.app[LIFECYCLE].serving.wait()
    if worker.sockets:
        sockets = [socket.socket(fileno=descriptor) for descriptor in worker.sockets]
    else:
        http = runner.app[SETTINGS].http
        sockets = list(await asyncio.to_thread(bind, http, shared=False))
    for made in sockets:
        await web.SockSite(runner, made, backlog=BACKLOG).start()


async def _announce(app: web.Application, on_started: Callable[[], Awaitable[None]]) -> None:
    await app[LIFECYCLE].serving.wait()
    await on_started()
