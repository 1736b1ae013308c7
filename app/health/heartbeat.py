"""The heartbeat: a row in `health_check` every few seconds, and the last row in memory.

The times of missed heartbeats are stored in memory and written when the database is back. So the
table also records the outage.
"""

import asyncio
import time
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from prometheus_client import Metric

from app.components import Component, HealthCheck, HealthCheckRow, ReportScope, Status, gauge
from app.database import Database, sql
from app.database.client.faults import DatabaseBugError
from app.errors import Unavailable
from app.log import logger
from app.settings import HealthSettings
from app.tasks import jittered, wait_at_most

log = logger(__name__)

WRITE_CHECK = "database:write"
MISSES_UNTIL_FAIL = 3
# The interval after a miss. It is short, so that readiness fails and recovers soon.
_RETRY_SECONDS = 1.0
_MISSED_MAX = 1_000
CLOCK_CHECK = "clock:skew"
# Plans change flags by the clock of each host.
SKEW_SECONDS_MAX = 1.0


@dataclass(frozen=True, kw_only=True)
class HeartbeatResult:
    """The row that a heartbeat wrote, or the code of the error that prevented it.

    `output` is the code, with the reason if no connection could be made.
    `skew_seconds` is the time of this host less that of the database, to half of the latency.
    """

    monotonic: float
    row: HealthCheckRow | None = None
    skew_seconds: float = 0.0
    code: str | None = None
    output: str | None = None


class Heartbeat(Component):
    """Writes heartbeats, and stores the result of the last one."""

    name = "heartbeat"

    def __init__(self, database: Database, settings: HealthSettings, instance: str) -> None:
        self._database = database
        self._settings = settings
        self._instance = instance
        self._missed: deque[datetime] = deque(maxlen=_MISSED_MAX)
        self.last: HeartbeatResult | None = None
        self.last_good: HeartbeatResult | None = None
        self.misses_in_a_row = 0

    async def run(self) -> None:
        while True:
            await self.run_once()
            interval = self._settings.interval_seconds
            if self.misses_in_a_row:
                await asyncio.sleep(min(interval, _RETRY_SECONDS))
                continue
            # A request that fails because of the database triggers the next heartbeat at once.
            self._database.failed.clear()
            await wait_at_most(jittered(interval), self._database.failed)

    async def run_once(self) -> None:
        """Write a heartbeat, or count a miss. It never raises for the database."""
        at, started = datetime.now(UTC), time.monotonic()
        try:
            async with asyncio.timeout(self._settings.timeout_seconds):
                row, skew_seconds = await self._write()
        except Unavailable as error:
            self._miss(at, error.code, started)
        except TimeoutError:
            self._miss(at, "database_away", started)
        except DatabaseBugError as error:
            # For example, a right was revoked, or a page is corrupt.
            self._miss(at, "database_error", started, reason=str(error))
        else:
            self.last = self.last_good = HeartbeatResult(
                monotonic=time.monotonic(), row=row, skew_seconds=skew_seconds
            )
            if self.misses_in_a_row:
                log.info("heartbeat_back", missed=self.misses_in_a_row)
            self.misses_in_a_row = 0

    async def _write(self) -> tuple[HealthCheckRow, float]:
        async with self._database.connection() as connection:
            started, wall = time.perf_counter(), time.time()
            inserted = await sql.insert_heartbeat(
                connection,
                instance=self._instance,
                retention_seconds=self._settings.retention_seconds,
            )
            latency_ms = round((time.perf_counter() - started) * 1000, 3)
            skew_seconds = wall + latency_ms / 2000 - inserted["checked_at"].timestamp()
            row = HealthCheckRow(**inserted, latency_ms=latency_ms, instance=self._instance)
            await sql.update_heartbeat_latency(connection, id=row.id, latency_ms=latency_ms)
            if self._missed:
                await sql.insert_missed_heartbeats(
                    connection, instance=self._instance, times=list(self._missed)
                )
                self._missed.clear()
        return row, skew_seconds

    def checks(self, scope: ReportScope) -> Mapping[str, HealthCheck]:
        last, good = self.last, self.last_good
        # An exhausted pool means that this instance is busy, not that the database is away. To take
        # it out of service would move its load to the other instances.
        if last is not None and last.code == "pool_exhausted":
            status = Status.WARN
        elif self.misses_in_a_row >= MISSES_UNTIL_FAIL or good is None:
            status = scope.outage
        else:
            status = Status.WARN if self.misses_in_a_row else Status.PASS
        row = good.row if good else None
        check = HealthCheck(
            status=status,
            component_type="datastore",
            observed_value=row.latency_ms if row else None,
            observed_unit="ms",
            time=row.checked_at if row else None,
            age_seconds=round(time.monotonic() - good.monotonic, 1) if good else None,
            consecutive_failures=self.misses_in_a_row,
            row=row,
            output=last.output if last else "no heartbeat yet",
        )
        return {WRITE_CHECK: check, **self._clock_checks()}

    def _clock_checks(self) -> dict[str, HealthCheck]:
        """Return a check if the clocks of this host and of the database differ too much."""
        good = self.last_good
        skew_seconds = good.skew_seconds if good else 0.0
        # A slow answer of the database is no skew.
        error_seconds = good.row.latency_ms / 2000 if good and good.row else 0.0
        if abs(skew_seconds) - error_seconds <= SKEW_SECONDS_MAX:
            return {}
        output = "the clock of this host differs from that of the database"
        return {
            CLOCK_CHECK: HealthCheck(
                status=Status.WARN,
                observed_value=round(skew_seconds, 3),
                observed_unit="s",
                output=output,
            )
        }

    def metrics(self) -> Iterable[Metric]:
        yield gauge(
            "flagstone_heartbeat_misses",
            "Heartbeats that failed since the last successful one.",
            self.misses_in_a_row,
        )
        row = self.last_good.row if self.last_good else None
        if row is None:
            return
        yield gauge(
            "flagstone_heartbeat_last_success_timestamp_seconds",
            "Unix time of the last successful heartbeat.",
            row.checked_at.timestamp(),
        )
        yield gauge(
            "flagstone_heartbeat_latency_seconds",
            "Seconds that the last successful heartbeat took to write.",
            row.latency_ms / 1000,
        )
        yield gauge(
            "flagstone_clock_skew_seconds",
            "Seconds by which this host's clock is ahead of the database's.",
            self.last_good.skew_seconds if self.last_good else 0.0,
        )

    def _miss(self, at: datetime, code: str, started: float, **details: str) -> None:
        self.misses_in_a_row += 1
        self._missed.append(at)
        reason = self._database.connect_failure_since(started)
        output = code if reason is None else f"{code}: {reason}"
        self.last = HeartbeatResult(monotonic=time.monotonic(), code=code, output=output)
        log.warning("heartbeat_missed", code=code, in_a_row=self.misses_in_a_row, **details)
