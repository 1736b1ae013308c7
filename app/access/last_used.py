"""When tokens were last used, written about once a minute for all of them in one statement."""

from aiohttp import web

from app.access.directory import TokenDirectory
from app.components import Component
from app.database import Database, sql
from app.errors import Unavailable
from app.log import logger
from app.tasks import repeat

log = logger(__name__)

FLUSH_SECONDS = 60.0


class TokenUse(Component):
    """From the directory's memory to `last_used_at`. Nobody is refused because it fails."""

    name = "token_use"

    def __init__(self, database: Database, directory: TokenDirectory) -> None:
        self._database = database
        self._directory = directory

    async def run(self) -> None:
        """Write for ever, and once more at the end."""
        try:
            await repeat(lambda: FLUSH_SECONDS, self.run_once)
        finally:
            await self.run_once()

    async def run_once(self) -> None:
        """Write down which tokens were used. Never raises: they are kept for the next time."""
        used, self._directory.used = self._directory.used, set()
        if not used:
            return
        try:
            await self._database.transact(lambda c: sql.mark_tokens_used(c, ids=sorted(used)))
        except Unavailable as error:
            log.debug("token_use_not_written", code=error.code)
            self._directory.used |= used
        except Exception as error:  # noqa: BLE001 - a dead task would take readiness with it
            log.warning("token_use_not_written", error=type(error).__name__)
            self._directory.used |= used


TOKEN_USE: web.AppKey[TokenUse] = web.AppKey("token_use", TokenUse)
