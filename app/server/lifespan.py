"""The start and the stop of the components, in the order of `server/components.py`.

The listener is up before the start, so that liveness answers while a start waits for its database.
A step that fails because the database is away is retried without end. Any other failure, such as a
wrong password or an edited migration, ends the process.
"""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from functools import partial

from aiohttp import web

from app import VERSION
from app.errors import ForeseenError
from app.http.keys import LIFECYCLE, SETTINGS
from app.log import logger
from app.server.components import COMPONENTS, STARTUP_RETRY, TASKS

log = logger(__name__)


class StopError(ForeseenError):
    """A stop that took too long. The process ends with an exit code other than 0."""


async def lifespan(app: web.Application) -> AsyncIterator[None]:
    """Start the components in the background. At the end stop the tasks, then close components."""
    async with AsyncExitStack() as stack:
        app[TASKS].start("start", partial(_start, app, stack))
        try:
            yield
        finally:
            if names := await app[TASKS].stop():
                app[LIFECYCLE].fail(StopError(f"tasks did not stop: {', '.join(names)}"))


async def _start(app: web.Application, stack: AsyncExitStack) -> None:
    """Start every component in order, each with its background task."""
    tasks, retry, settings = app[TASKS], app[STARTUP_RETRY], app[SETTINGS]
    try:
        for component in app[COMPONENTS]:
            stack.push_async_callback(component.close)
            await retry.run(component.name, component.start)
            if component.run is not None:
                tasks.start(component.name, component.run)
    except Exception as error:  # noqa: BLE001 - `serve` raises it
        app[LIFECYCLE].fail(error)
        return
    app[LIFECYCLE].start()
    log.info("started", version=VERSION, tier=settings.tier, port=settings.http.port)
