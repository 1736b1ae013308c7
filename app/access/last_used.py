"""The last use of each token, written once a minute in one statement."""

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
    """Writes `last_used_at` of the tokens that were used. A failure refuses no request."""

    name = "token_use"

    def __init__(self, database: Database, directory: TokenDirectory) -> None:
        self._database = database
        self._directory = directory

    async def run(self) -> None:
        """Write once a minute, and once more at the end."""
        await repeat(lambda: FLUSH_SECONDS, self.run_once, at_end=True)

    async def run_once(self) -> None:
        """Write the last use. Never raises: after a failure, the next run writes it."""
        used, self._directory.used = self._directory.used, set()
        if not used:
            return
        try:
            await self._database.transact(lambda c: sql.mark_tokens_used(c, ids=sorted(used)))
        except Unavailable as error:
            log.debug("token_use_not_written", code=error.code)
            self._directory.used |= used
        except Exception as error:  # noqa: BLE001 - a failed task ends readiness
            log.warning("token_use_not_written", error=type(error).__name__)
            self._directory.used |= used


TOKEN_USE: web.AppKey[TokenUse] = web.AppKey("token_use", TokenUse)
