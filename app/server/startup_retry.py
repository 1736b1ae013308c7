"""Retries the steps of the start while the database or the upstream is away, without limit."""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from typing import TypeVar

from app.database.client.connector import is_transient
from app.database.client.reasons import DatabaseRefusedError, reason_of
from app.errors import Unavailable
from app.log import logger
from app.tasks import Backoff

log = logger(__name__)

Result = TypeVar("Result")
_PAUSE_SECONDS = 0.5
_PAUSE_SECONDS_MAX = 5.0


class StartupRetry:
    """Runs the steps of a start. `delayed` is set after the first failure."""

    def __init__(self, event: str = "waiting_for_database") -> None:
        self._event = event
        self.delayed = asyncio.Event()

    async def run(self, step: str, work: Callable[[], Awaitable[Result]]) -> Result:
        """Run the work, and retry it while the database is away. Return its result.

        Raises any other error, such as a wrong password or an edited migration.
        """
        backoff = Backoff(_PAUSE_SECONDS, _PAUSE_SECONDS_MAX)
        while True:
            try:
                return await work()
            except Exception as error:
                if not _is_passing(error):
                    raise
                log.warning(
                    self._event,
                    to=step,
                    reason=reason_of(error),
                    next_attempt_seconds=backoff.seconds,
                )
            self.delayed.set()
            await backoff.pause()


def _is_passing(error: Exception) -> bool:
    # A serving process imports psycopg only to migrate.
    psycopg = sys.modules.get("psycopg")
    if psycopg is not None and isinstance(error, psycopg.OperationalError):
        # Classes 08, 53, 55, 57: connection, resources, locks, shutdown. An error without a state
        # means that the connection broke.
        return error.sqlstate is None or error.sqlstate.startswith(("08", "53", "55", "57"))
    if isinstance(error, DatabaseRefusedError):
        return error.may_pass
    return isinstance(error, Unavailable) or is_transient(error)
