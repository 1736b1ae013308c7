"""The watch over several hosts: it notices a failover that broke no session.

A primary that was paused for a moment answers on the same sessions as before, although a standby
was promoted meanwhile. So each host is asked for its state four times a second, over a session of
its own. And where the primary was slow to answer, a write is acknowledged only after every other
host has been asked again.
"""

import asyncio
import time
from contextlib import suppress

from app.database.connector import Connector
from app.database.primary import Primary, Session
from app.log import logger
from app.settings import DatabaseSettings, Target
from app.tasks import jittered

log = logger(__name__)

_PERIOD_SECONDS = 0.25
# A pause that is long enough for a standby to be promoted.
_SLOW_SECONDS = 0.2
_RECONNECT_SECONDS = 1.0
# A host that is silent for longer cannot be waited for.
_CONFIRM_SECONDS = 1.0

Address = tuple[str, int]


class PrimaryWatch:
    """Asks every host again and again; what the answers say is kept by `primary`."""

    def __init__(self, primary: Primary) -> None:
        self._primary = primary
        # By host, when the question began that is still open, and the last one that was answered.
        self._open_since: dict[Address, float] = {}
        self._answered_since: dict[Address, float] = {}
        # By host, when it last turned out to be slow.
        self._slow_at: dict[Address, float] = {}
        self._answered = asyncio.Event()

    async def run(self, target: Target, settings: DatabaseSettings) -> None:
        """Watch every host until this is cancelled."""
        connector = Connector(target, settings, self._primary)
        async with asyncio.TaskGroup() as group:
            for address in target.hosts:
                group.create_task(self._watch(connector, address))

    async def confirm(self, session: Session, began: float) -> None:
        """Wait until it is known whether a session's server was the primary after a transaction.

        `began` is when the transaction began, on the monotonic clock.
        """
        now = time.monotonic()
        if now - min(began, self._open_since.get(session.address, now)) > _SLOW_SECONDS:
            self._slow_at[session.address] = now
        slow_at = self._slow_at.get(session.address, 0.0)
        with suppress(TimeoutError):
            async with asyncio.timeout(_CONFIRM_SECONDS):
                while any(
                    since <= slow_at
                    for address, since in self._answered_since.items()
                    if address != session.address
                ):
                    await self._answered.wait()

    async def _watch(self, connector: Connector, address: Address) -> None:
        while True:
            try:
                session = await connector.connect_to(*address)
                try:
                    while True:
                        await self._ask(session)
                        self._primary.review(address, session)
                        await asyncio.sleep(_PERIOD_SECONDS)
                finally:
                    self._answered_since.pop(address, None)
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
            if time.monotonic() - began > _SLOW_SECONDS:
                self._slow_at[address] = time.monotonic()
        self._answered_since[address] = began
        answered, self._answered = self._answered, asyncio.Event()
        answered.set()
