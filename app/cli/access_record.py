"""A row in the access log for a command that works without an open database."""

import asyncio
from dataclasses import replace

from app import log
from app.access.events import Access
from app.access.log import AccessLog
from app.cli.terminal import error_console
from app.database.client.reasons import reason_of
from app.database.embedded import EmbeddedError
from app.database.targets import embedded_server, open_database
from app.settings import Settings

# The operator who restores a service must not wait for its access log.
_RECORD_SECONDS = 8.0


def record_or_warn(settings: Settings, access: Access) -> None:
    """Write a row to the access log, or warn that there is none. Never ends the command."""
    try:
        asyncio.run(_record(settings, access))
    except Exception as error:  # noqa: BLE001 - the work of the command is done, or must be
        reason = reason_of(error) or type(error).__name__
        error_console.print(f"warning: not in the access log: {reason}")


async def _record(settings: Settings, access: Access) -> None:
    if settings.database.target is None and not embedded_server(settings).exists:
        # Opening it would create it.
        raise EmbeddedError("there is no database yet")
    log.configure(settings.log.level, settings.log.format)
    hurried = replace(settings, database=replace(settings.database, connect_attempts=1))
    async with asyncio.timeout(_RECORD_SECONDS), open_database(hurried) as database:
        access_log = AccessLog(database)
        await database.transact(lambda connection: access_log.record(connection, access))
