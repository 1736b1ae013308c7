"""LISTEN on a separate connection: a pooled connection loses its listeners when it is released.

Notifications are lost while the connection is down, so every connect counts as a notification. A
dead peer sends nothing, so a query checks the connection every 2 s.
"""

import asyncio
from collections.abc import Callable

from app.database.client.connector import Connector
from app.database.client.primary import Primary, Session
from app.log import logger
from app.settings import DatabaseSettings, Target
from app.tasks import jittered, wait_at_most

log = logger(__name__)

CHANNEL = "flagstone"
_EVERYTHING = ""
_PING_SECONDS = 2.0
_PAUSE_SECONDS = 1.0


async def listen(
    target: Target,
    settings: DatabaseSettings,
    on_hint: Callable[[str], None],
    primary: Primary | None = None,
) -> None:
    """Call `on_hint` with the payload of each notification, and with "" after each connect."""
    primary = primary or Primary()
    connector = Connector(target, settings, primary)
    while True:
        try:
            connection = await connector()
        except Exception as error:  # noqa: BLE001 - the next attempt may succeed
            log.debug("listener_waits", error=type(error).__name__)
        else:
            await _listen(connection, on_hint, primary)
            log.info("listener_lost")
        await asyncio.sleep(jittered(_PAUSE_SECONDS))


async def _listen(connection: Session, on_hint: Callable[[str], None], primary: Primary) -> None:
    """Listen until the connection is lost or its server is no longer the primary."""
    lost = asyncio.Event()
    connection.add_termination_listener(lambda _: lost.set())
    try:
        await connection.add_listener(CHANNEL, lambda *arguments: on_hint(str(arguments[-1])))
        on_hint(_EVERYTHING)
        while not lost.is_set() and primary.is_current(connection):
            if not await wait_at_most(_PING_SECONDS, lost):
                await connection.execute("select 1")
    except Exception as error:  # noqa: BLE001 - the connection is closed in every case
        log.debug("listener_failed", error=type(error).__name__)
    finally:
        connection.terminate()
