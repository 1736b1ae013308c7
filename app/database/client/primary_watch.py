"""The watch over several hosts: it notices a failover that broke no session.

A primary that was paused for a moment answers on the same sessions as before, although a standby
was promoted meanwhile. So each host is asked for its state four times a second, over a session of
its own. And a write is acknowledged only after every other host has been asked again: none of them
was the primary when the write was committed.
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
# A host that is silent for longer cannot be waited for.
_CONFIRM_SECONDS = 1.0

Address = tuple[str, int]


class PrimaryWatch:
    """Asks every host again and again; what the answers say is kept by `primary`."""

    def __init__(self, primary: Primary) -> None:
        self._primary = primary
        # By host, when the query began that is still open, and the last one that was answered.
        self._open_since: dict[Address, float] = {}
        self._answered_since: dict[Address, float] = {}
        # By host, set to have it asked at once.
        self._hurry: dict[Address, asyncio.Event] = {}
        self._answered = asyncio.Event()

    async def run(self, target: Target, settings: DatabaseSettings) -> None:
        """Watch every host until this is cancelled."""
        connector = Connector(target, settings, self._primary)
        async with asyncio.TaskGroup() as group:
            for address in target.hosts:
                group.create_task(self._watch(connector, address))

    async def confirm(self, session: Session) -> None:
        """Ask every other host once more, so that `primary` knows whether one was promoted.

        Writers share the queries. A host without an open session, or one that has been silent for
        1 s, is not waited for: it may be down, and the primary must go on taking writes.
        """
        now = time.monotonic()
        for address, hurry in self._hurry.items():
            if address != session.address:
                hurry.set()
        with suppress(TimeoutError):
            async with asyncio.timeout(_CONFIRM_SECONDS):
                while any(
                    since < now and self._open_since.get(address, now) > now - _CONFIRM_SECONDS
                    for address, since in self._answered_since.items()
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
                        await self._ask(session)
                        self._primary.review(address, session)
                        await wait_at_most(_PERIOD_SECONDS, hurry)
                finally:
                    self._forget(address)
                    session.terminate()
            except Exception as error:  # noqa: BLE001 - one host must not end the watch over the others
                log.debug("host_not_watched", host=address[0], error=type(error).__name__)
                self._primary.review(address, None)
            await asyncio.sleep(jittered(_RECONNECT_SECONDS))

    async def _ask(self, session: Session) -> None:
        address, began = session.address, time.monotonic()
        self._open_since[address] = began
        try:
            await self._primary.ask(session)
        finally:
            del self._open_since[address]
        self._answered_since[address] = began
        self._wake()

    def _forget(self, address: Address) -> None:
        """Have no write wait for this host."""
        self._hurry.pop(address, None)
        self._answered_since.pop(address, None)
        self._wake()

    def _wake(self) -> None:
        answered, self._answered = self._answered, asyncio.Event()
        answered.set()
