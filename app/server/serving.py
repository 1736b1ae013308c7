"""Serving and stopping in order: `run_app` of aiohttp closes the listener too early."""

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
from app.server.service_manager import ServiceManager
from app.server.workers import ONLY, Worker, beat_lifeline, watch_lifeline

log = logger(__name__)


async def serve(
    app: web.Application,
    on_started: Callable[[], Awaitable[None]],
    on_stopping: Callable[[], None],
    worker: Worker,
    manager: ServiceManager,
) -> None:
    """Serve until a signal, or until the start fails for good. Then stop in order.

    The order of a stop: readiness fails, the drain time passes, the listener closes, requests
    finish, and the components close. `on_started` is called at the end of the start, or by one of
    several workers once it serves. `on_stopping` is called when the stop begins. Raises the error
    that ended the start, and StopError.
    """
    lifecycle, settings = app[LIFECYCLE], app[SETTINGS].http
    loop = asyncio.get_running_loop()
    received: list[signal.Signals] = []

    def on_signal(number: signal.Signals) -> None:
        received.append(number)
        lifecycle.draining.set()
        lifecycle.stopping.set()

    # First, so that no signal is lost during the start.
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        loop.add_signal_handler(number, on_signal, number)
    following = asyncio.create_task(manager.follow(lifecycle), name="service_manager")
    runner = Runner(app)
    try:
        await runner.setup()
        watch_lifeline(worker, lifecycle.stopping.set)
        listening = asyncio.create_task(_listen(runner, worker), name="listen")
        listening.add_done_callback(partial(_stop_after_error, lifecycle))
        if worker.listens_at_start:
            await listening
        reporting = asyncio.create_task(beat_lifeline(worker), name="beat")
        announcing = asyncio.create_task(_announce(lifecycle, worker, on_started), name="announce")
        await lifecycle.stopping.wait()
        on_stopping()
        announcing.cancel()
        listening.cancel()
        reporting.cancel()
        lifecycle.draining.set()
        log.info("draining", signal=received[0].name if received else "none")
        # After SIGTERM a load balancer needs time to see that readiness fails. Ctrl-C is a person.
        if received and received[0] is signal.SIGTERM:
            await asyncio.sleep(settings.drain_seconds)
    finally:
        await runner.cleanup()
        following.cancel()
    log.info("stopped")
    if lifecycle.failure is not None:
        raise lifecycle.failure


def _stop_after_error(lifecycle: Lifecycle, listening: asyncio.Task[None]) -> None:
    """Stop a process that cannot listen, so that the supervisor starts another one."""
    if not listening.cancelled() and (error := listening.exception()) is not None:
        lifecycle.fail(error)


async def _listen(runner: Runner, worker: Worker) -> None:
    """Listen: the first worker at once, so that liveness is answered during the start.

    The others listen once they can serve.
    """
    if not worker.listens_at_start:
        await runner.app[LIFECYCLE].serving.wait()
    if worker.sockets:
        sockets = [socket.socket(fileno=descriptor) for descriptor in worker.sockets]
    else:
        http = runner.app[SETTINGS].http
        sockets = list(await asyncio.to_thread(bind, http, shared=False))
    for listener in sockets:
        await web.SockSite(runner, listener, backlog=BACKLOG).start()


async def _announce(
    lifecycle: Lifecycle, worker: Worker, on_started: Callable[[], Awaitable[None]]
) -> None:
    # A supervisor waits until its worker can answer. A person reads the end of the whole start.
    await (lifecycle.started if worker is ONLY else lifecycle.serving).wait()
    await on_started()
