"""The heartbeat: every few seconds a row in `health_check`, and its outcome in memory.

A miss is kept with its time and written down once the database is back, so the table tells the
truth about the past as well.
"""

import asyncio
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

from app.database import Database, sql
from app.errors import Unavailable
from app.log import logger
from app.settings import HealthSettings
from app.tasks import jittered

log = logger(__name__)

MISSES_UNTIL_FAIL = 3
_RETRY_SECONDS = 1.0  # after a miss: readiness should know soon, in both directions
_MISSED_MAX = 1_000


@dataclass(frozen=True, kw_only=True)
class Beat:
    """The last heartbeat. `code` says which phase failed: pool or database."""

    at: datetime
    monotonic: float
    latency_ms: float | None
    code: str | None


class Heartbeat:
    """Writes heartbeats, and knows how the last one went."""

    def __init__(self, database: Database, settings: HealthSettings, instance: str) -> None:
        self._database = database
        self._settings = settings
        self._instance = instance
        self._missed: deque[datetime] = deque(maxlen=_MISSED_MAX)
        self.last: Beat | None = None
        self.last_good: Beat | None = None
        self.misses_in_a_row = 0

    async def run(self) -> None:
        """Beat for ever."""
        while True:
            await self.run_once()
            interval = self._settings.interval_seconds
            if self.misses_in_a_row:
                await asyncio.sleep(min(interval, _RETRY_SECONDS))
                continue
            # A request that finds the database in trouble calls the next heartbeat at once.
            self._database.troubled.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(jittered(interval)):
                    await self._database.troubled.wait()

    async def run_once(self) -> None:
        """Write one heartbeat, or remember that it was missed. Never raises for the database."""
        at = datetime.now(UTC)
        try:
            async with asyncio.timeout(self._settings.timeout_seconds):
                latency_ms = await self._write()
        except Unavailable as error:
            self._miss(at, error.code)
        except TimeoutError:
            self._miss(at, "database_away")
        else:
            self.last = self.last_good = Beat(
                at=at, monotonic=time.monotonic(), latency_ms=latency_ms, code=None
            )
            if self.misses_in_a_row:
                log.info("heartbeat_back", missed=self.misses_in_a_row)
            self.misses_in_a_row = 0

    async def _write(self) -> float:
        async with self._database.connection() as connection:
            started = time.perf_counter()
            row_id = await sql.insert_heartbeat(
                connection,
                instance=self._instance,
                retention_seconds=self._settings.retention_seconds,
            )
            latency_ms = round((time.perf_counter() - started) * 1000, 3)
            await sql.update_heartbeat_latency(connection, id=row_id, latency_ms=latency_ms)
            if self._missed:
                await sql.insert_missed_heartbeats(
                    connection, instance=self._instance, times=list(self._missed)
                )
                self._missed.clear()
        return latency_ms

    def _miss(self, at: datetime, code: str) -> None:
        self.misses_in_a_row += 1
        self._missed.append(at)
        self.last = Beat(at=at, monotonic=time.monotonic(), latency_ms=None, code=code)
        log.warning("heartbeat_missed", code=code, in_a_row=self.misses_in_a_row)
