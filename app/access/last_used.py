"""The last use of tokens and sessions, written once a minute instead of at each request."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from aiohttp import web

from app.access.directory import SeenToken, TokenDirectory
from app.components import Component
from app.database import Connection, Database, sql
from app.errors import Unavailable
from app.log import logger
from app.tasks import repeat

log = logger(__name__)

FLUSH_SECONDS = 60.0


class TokenUse(Component):
    """Writes when tokens and sessions were used. A failure refuses no request."""

    name = "token_use"

    def __init__(self, database: Database, directory: TokenDirectory) -> None:
        self._database = database
        self._directory = directory

    async def run(self) -> None:
        await repeat(lambda: FLUSH_SECONDS, self.run_once, at_end=True)

    async def run_once(self) -> None:
        """Write the last use. Never raises: after a failure, the next run writes it."""
        used, self._directory.used = self._directory.used, set()
        seen = self._directory.sessions.take_seen()
        macs = self._directory.take_relay_macs()
        if not used and not seen:
            return

        async def write(connection: Connection) -> None:
            await sql.mark_tokens_used(connection, ids=sorted(used))
            if macs:
                ids, stored, relay_macs = zip(*macs, strict=True)
                await sql.add_relay_macs(
                    connection, ids=list(ids), macs=list(stored), relay_macs=list(relay_macs)
                )
            await sql.mark_sessions_seen(connection, ids=list(seen), seen_at=list(seen.values()))

        try:
            await self._database.transact(write)
        except Unavailable as error:
            log.debug("token_use_not_written", code=error.code)
            self._put_back(used, seen, macs)
        except Exception as error:  # noqa: BLE001 - a failed task ends readiness
            log.warning("token_use_not_written", error=type(error).__name__)
            self._put_back(used, seen, macs)

    def _put_back(
        self, used: set[str], seen: Mapping[str, datetime], macs: Sequence[SeenToken]
    ) -> None:
        self._directory.used |= used
        self._directory.put_back_relay_macs(macs)
        self._directory.sessions.put_back(seen)


TOKEN_USE: web.AppKey[TokenUse] = web.AppKey("token_use", TokenUse)
