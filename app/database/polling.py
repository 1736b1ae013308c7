"""Copies of database state in memory: refreshed by polling, and sooner after a notification.

A notification can be lost, so it is only a hint. The poll decides how old a copy can be.
"""

import asyncio
from collections.abc import Awaitable, Callable

from app.components import Component
from app.database.client.faults import SCHEMA_UNFIT
from app.errors import Unavailable
from app.log import logger
from app.tasks import jittered, wait_at_most

log = logger(__name__)

_PAUSE_SECONDS = 0.1


class PolledCopy(Component):
    """A copy of database state. While the database is away, the last copy stays in use."""

    poll_seconds: float
    # The log event of a refresh that failed.
    failure_event: str

    def __init__(self) -> None:
        # Why the refresh fails although the database answers. None after a success.
        self.failure: str | None = None
        self._hinted = asyncio.Event()

    async def refresh(self) -> None:
        """Read what has changed, and clear `failure`.

        Raises Unavailable when the database is away.
        """
        raise NotImplementedError

    async def update(self) -> None:
        """Do what a hint or the end of the interval asks for. Raises as `refresh` does."""
        await self.refresh()

    async def start(self) -> None:
        await self.refresh()

    def hint(self) -> None:
        """Refresh soon: a notification says that the state may have changed."""
        self._hinted.set()

    async def run(self) -> None:
        """Update at the interval and after each hint."""
        while True:
            await wait_at_most(jittered(self.poll_seconds), self._hinted)
            self._hinted.clear()
            if not await self._succeeds(self.update):
                # Hints while the database is away must not turn this into a busy loop.
                await asyncio.sleep(jittered(_PAUSE_SECONDS))

    async def refresh_if_possible(self) -> bool:
        """Refresh, and return whether it succeeded. It never raises for the database."""
        return await self._succeeds(self.refresh)

    async def _succeeds(self, work: Callable[[], Awaitable[None]]) -> bool:
        try:
            await work()
        except Unavailable as error:
            if error.code == SCHEMA_UNFIT:
                self.failure = error.message
            # The pool has logged the reason, and the heartbeat repeats it.
            log.debug(self.failure_event, code=error.code)
        except Exception as error:  # noqa: BLE001 - one failure must not end the polling
            # After a migration a cached statement fails once, and the next refresh succeeds. A
            # failure that lasts makes the instance unready, since its answers are wrong.
            self.failure = f"unexpected error, see {self.failure_event} in the log"
            log.warning(self.failure_event, error=type(error).__name__)
        else:
            return True
        return False
