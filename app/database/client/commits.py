"""Announce committed change sets to the other processes.

NOTIFY within a transaction takes a lock of the whole server until the commit has ended, so commits
would wait for each other. Therefore one task sends it after the commits. It announces the latest
revision of each environment, so many commits share a notification. If the process dies before, the
other processes find the change set when they poll.
"""

import asyncio
from collections.abc import Callable, Iterable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any

from app.database.client.statements import sql
from app.errors import Unavailable
from app.log import logger
from app.tasks import Backoff

log = logger(__name__)

_PAUSE_SECONDS = 0.1
_PAUSE_SECONDS_MAX = 2.0


@dataclass(frozen=True, kw_only=True)
class Commit:
    """A change set of a transaction. A subclass adds its content."""

    environment: str
    revision: int


class Announcer:
    """Sends the notifications of a process."""

    def __init__(self, connection: Callable[[], AbstractAsyncContextManager[Any]]) -> None:
        self._connection = connection
        self._revisions: dict[str, int] = {}
        self._added = asyncio.Event()
        # False in commands and scripts: each of their transactions sends its own notifications.
        self.is_running = False

    def add(self, commits: Iterable[Commit]) -> None:
        """Announce these soon."""
        for commit in commits:
            latest = self._revisions.get(commit.environment, 0)
            self._revisions[commit.environment] = max(latest, commit.revision)
        self._added.set()

    async def run(self) -> None:
        """Announce until cancelled. Retry after a failure."""
        self.is_running = True
        backoff = Backoff(_PAUSE_SECONDS, _PAUSE_SECONDS_MAX)
        while True:
            await self._added.wait()
            self._added.clear()
            if await self.send():
                backoff.reset()
            else:
                await backoff.pause()

    async def send(self) -> bool:
        """Announce what was added, in one statement. Return whether that succeeded."""
        revisions, self._revisions = self._revisions, {}
        try:
            async with self._connection() as connection:
                await sql.announce_revisions(
                    connection, environments=list(revisions), revisions=list(revisions.values())
                )
        except Unavailable as error:
            log.debug("announcement_failed", code=error.code)
        except Exception:
            # The transactions are committed, so no error may reach their callers.
            log.exception("announcement_failed")
        else:
            return True
        self.add(Commit(environment=name, revision=n) for name, n in revisions.items())
        return False
