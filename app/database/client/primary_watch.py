"""Watch several hosts, to detect a failover that broke no session.

A primary that was paused for a moment answers on the same sessions, although a standby was promoted
meanwhile. So each host has its own session, which queries the state every 0.25 s. A write is
acknowledged only after one more query to every other host. So none of them was the primary when the
write was committed.
"""

import asyncio
import time
from contextlib import suppress

from app.database.client.connector import Connector
from app.database.client.primary import Primary, Session
from app.log import logger
from app.settings import DatabaseSettings, Target
from app.tasks import jittered, wait_at_most

log = logger(__name__)

_PERIOD_SECONDS = 0.25
_RECONNECT_SECONDS = 1.0
# A write does not wait longer for a silent host.
_CONFIRM_SECONDS = 1.0

Address = tuple[str, int]


class PrimaryWatch:
    """Queries every host periodically. `primary` stores the answers."""

    def __init__(self, primary: Primary) -> None:
        self._primary = primary
        # By host: when the open query began, and when the last answered query began.
        self._query_began: dict[Address, float] = {}
        self._answered_began: dict[Address, float] = {}
        # By host: an event that starts the next query at once.
        self._hurry: dict[Address, asyncio.Event] = {}
        self._answered = asyncio.Event()

    async def run(self, target: Target, settings: DatabaseSettings) -> None:
        """Watch every host until cancelled."""
        connector = Connector(target, settings, self._primary)
        async with asyncio.TaskGroup() as group:
            for address in target.hosts:
                group.create_task(self._watch(connector, address))

    async def confirm(self, session: Session) -> None:
        """Query every other host once more, so that `primary` knows whether one was promoted.

        Concurrent writers share the queries. Do not wait for a host without a session, or that is
        silent for 1 s: it may be down, and the primary must still accept writes.
        """
        now = time.monotonic()
        for address, hurry in self._hurry.items():
            if address != session.address:
                hurry.set()
        with suppress(TimeoutError):
            async with asyncio.timeout(_CONFIRM_SECONDS):
                while any(
                    since < now and self._query_began.get(address, now) > now - _CONFIRM_SECONDS
                    for address, since in self._answered_began.items()
                    if address != session.address
                ):
                    await self._answered.wait()

    async def _watch(self, connector: Connector, address: Address) -> None:
        while True:
            try:
                session = await connector.connect_to(*address)
                try:
                    hurry = self._hurry[address] = asyncio.Event()
                    while True:
                        hurry.clear()
                        await self._query(session)
                        self._primary.review(address, session)
                        await wait_at_most(_PERIOD_SECONDS, hurry)
                finally:
                    self._forget(address)
                    session.terminate()
            except Exception as error:  # noqa: BLE001 - one host must not end the watch of the others
                log.debug("host_not_watched", host=address[0], error=type(error).__name__)
                self._primary.review(address, None)
            await asyncio.sleep(jittered(_RECONNECT_SECONDS))

    async def _query(self, session: Session) -> None:
        address, began = session.address, time.monotonic()
        self._query_began[address] = began
        try:
            await self._primary.query_state(session)
        finally:
            del self._query_began[address]
        self._answered_began[address] = began
        self._wake()

    def _forget(self, address: Address) -> None:
        """Let no write wait for this host."""
        self._hurry.pop(address, None)
        self._answered_began.pop(address, None)
        self._wake()

    def _wake(self) -> None:
        answered, self._answered = self._answered, asyncio.Event()
        answered.set()
