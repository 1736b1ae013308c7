"""Schema drift: compare the schema with the one that the last migration left.

Also report whether the server records schema changes. Neither makes an instance unready: an index
that was added by hand is worth a warning, not an outage.
"""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from prometheus_client import Metric

from app.components import Component, HealthCheck, ReportScope, Status, gauge
from app.database import Connection, Database, sql
from app.database.catalog.fingerprint import (
    PRINT_SETTINGS,
    WORDING,
    differences,
    redact,
)
from app.database.catalog.recording import QUOTE_SETTING, Recording, RecordingStatus, evaluate
from app.database.client.faults import SCHEMA_UNFIT, DatabaseBugError
from app.database.migrations import LOCK_KEY
from app.errors import Unavailable
from app.log import logger
from app.program import PROGRAM
from app.tasks import jittered

log = logger(__name__)

CHECK_SECONDS = 300
# Retries until the first result. Instances that start together block each other briefly.
_RETRY_SECONDS = 5.0
_FIRST_ATTEMPTS = 4
_FIRST_PAUSE_SECONDS = 0.25
_SHOWN_MAX = 3
# A session that holds the migrator's lock prevents the check. It is reported after this time.
_STALE_SECONDS = 3 * CHECK_SECONDS
_NOTHING_EXPECTED = f"no expected schema is stored; run `{PROGRAM} database migrate`"
_OTHER_WORDING = "another release stored the expected schema in another wording"


@dataclass(frozen=True, kw_only=True)
class SchemaReport:
    """The result of one check. `reason` says why schema changes are not recorded.

    `drift` has one redacted line per difference from the expected schema. It is None if the schemas
    cannot be compared, and `unknown` says why. `upgraded` is set if the expected schema was stored
    under another major version of PostgreSQL, which may print the same object differently.
    """

    recording: RecordingStatus
    reason: str | None
    drift: tuple[str, ...] | None
    unknown: str | None = None
    upgraded: str | None = None

    @property
    def drift_summary(self) -> str | None:
        """The first three differences in one line, or None without drift."""
        if not self.drift:
            return None
        more = len(self.drift) - _SHOWN_MAX
        parts = [*self.drift[:_SHOWN_MAX], *([f"and {more} more"] if more > 0 else [])]
        return "; ".join([*parts, *([self.upgraded] if self.upgraded else [])])


async def inspect_schema(connection: Connection) -> SchemaReport:
    """Compare the schema with the expected one. Every role may do it.

    Raises Unavailable while a migration runs.
    """
    async with connection.transaction():
        if not await sql.find_no_migrator(connection, lock_key=LOCK_KEY):
            raise Unavailable("migrating", "A migration is running.")
        expected = await _find_expected(connection)
        recording, _ = await _inspect_recording(connection, expected)

        def report(**fields: Any) -> SchemaReport:
            return SchemaReport(recording=recording.status, reason=recording.reason, **fields)

        if expected is None:
            return report(drift=None, unknown=_NOTHING_EXPECTED)
        if WORDING not in expected["facts"]:
            return report(drift=None, unknown=_OTHER_WORDING)
        await connection.execute(PRINT_SETTINGS)
        facts = [WORDING, *[row["fact"] async for row in sql.list_schema_facts(connection)]]
    before, now = expected["server_version"], connection.get_server_version().major
    return report(
        drift=tuple(map(redact, differences(expected["facts"], facts))),
        upgraded=f"PostgreSQL was upgraded from {before} to {now}" if before != now else None,
    )


async def inspect_recording(connection: Connection) -> tuple[Recording, bool]:
    """Return whether schema changes are recorded, and whether we may read the records."""
    async with connection.transaction():
        return await _inspect_recording(connection, await _find_expected(connection))


async def _inspect_recording(
    connection: Connection, expected: Mapping[str, Any] | None
) -> tuple[Recording, bool]:
    await connection.execute(QUOTE_SETTING)
    row = await sql.get_schema_recording(connection)
    recording = evaluate(row)
    if recording.status is RecordingStatus.UNAVAILABLE and expected and expected["recording"]:
        recording = Recording(
            status=RecordingStatus.BROKEN,
            reason="the server recorded schema changes before, and its records have been removed",
        )
    return recording, row["is_readable"]


async def _find_expected(connection: Connection) -> Mapping[str, Any] | None:
    if not await sql.has_expected_schema(connection):
        return None
    row: Mapping[str, Any] | None = await sql.find_expected_schema(connection)
    return row


class DriftCheck(Component):
    """The latest report, for health and metrics. Each change of it is logged once."""

    name = "drift"

    def __init__(self, database: Database) -> None:
        self._database = database
        self.report: SchemaReport | None = None
        self.checked_at: datetime | None = None
        self._failure: str | None = None

    @property
    def failure(self) -> str | None:
        """Why the latest report may be out of date, or None."""
        if self._failure is not None or self.checked_at is None:
            return self._failure
        age = (datetime.now(UTC) - self.checked_at).total_seconds()
        return None if age < _STALE_SECONDS else f"not checked for {age:.0f} seconds"

    async def start(self) -> None:
        """Try up to four times. The start does not wait for a migration of another instance."""
        for _ in range(_FIRST_ATTEMPTS):
            await self.run_once()
            if self.report is not None or self.failure is not None:
                return
            await asyncio.sleep(jittered(_FIRST_PAUSE_SECONDS))

    async def run(self) -> None:
        """Check every five minutes. The start has run the first check."""
        while True:
            is_known = self.report is not None and self.failure is None
            await asyncio.sleep(jittered(CHECK_SECONDS if is_known else _RETRY_SECONDS))
            await self.run_once()

    async def run_once(self) -> None:
        """Check once. Keep the latest report while the database is away or is migrated."""
        try:
            async with self._database.connection() as connection:
                report = await inspect_schema(connection)
        except (Unavailable, DatabaseBugError) as error:
            if isinstance(error, Unavailable) and error.code != SCHEMA_UNFIT:
                return
            # For example, a right was revoked. The task must continue.
            if self._failure is None:
                log.warning("schema_check_failed", error=str(error))
            self._failure = "the check failed, see the log"
            return
        self._failure = None
        self.checked_at = datetime.now(UTC)
        before, self.report = self.report, report
        self._log_changes(before, report)

    def checks(self, _: ReportScope) -> Mapping[str, HealthCheck]:
        """Only warn: an index that was added by hand must not make every instance unready."""
        if self.failure or self.report is None:
            unknown = HealthCheck(
                status=Status.WARN,
                component_type="datastore",
                output=self.failure or "not checked yet",
            )
            return {"schema:drift": unknown, "schema:audit": unknown}
        return {
            "schema:drift": self._drift_check(self.report),
            "schema:audit": self._recording_check(self.report),
        }

    def _drift_check(self, report: SchemaReport) -> HealthCheck:
        if report.drift is None:
            return HealthCheck(
                status=Status.WARN, component_type="datastore", output=report.unknown
            )
        return HealthCheck(
            status=Status.WARN if report.drift else Status.PASS,
            component_type="datastore",
            observed_value=len(report.drift),
            observed_unit="facts",
            time=self.checked_at,
            output=report.drift_summary,
        )

    def _recording_check(self, report: SchemaReport) -> HealthCheck:
        """Pass if the server cannot record: operators would ignore a permanent warning."""
        if report.recording is RecordingStatus.UNAVAILABLE:
            output = f"not available: {report.reason}"
            return HealthCheck(status=Status.PASS, component_type="datastore", output=output)
        is_broken = report.recording is RecordingStatus.BROKEN
        return HealthCheck(
            status=Status.WARN if is_broken else Status.PASS,
            component_type="datastore",
            time=self.checked_at,
            output=report.reason,
        )

    def metrics(self) -> Iterable[Metric]:
        # No value is better than an outdated one.
        if self.report is None or self.failure:
            return
        if self.report.drift is not None:
            yield gauge(
                "flagstone_schema_drift_facts",
                "Differences between the schema and the one that the last migration recorded.",
                len(self.report.drift),
            )
        yield gauge(
            "flagstone_schema_audit_recording",
            "1 if the server records changes of the schema, 0 if it does not.",
            self.report.recording is RecordingStatus.RECORDING,
        )

    def _log_changes(self, before: SchemaReport | None, now: SchemaReport) -> None:
        drift, drift_before = now.drift or (), (before and before.drift) or ()
        if drift != drift_before:
            write = log.warning if drift else log.info
            write("schema_drift", facts=len(drift), first=now.drift_summary)
        if before is None or (before.recording, before.reason) != (now.recording, now.reason):
            write = log.warning if now.recording is RecordingStatus.BROKEN else log.info
            reason = {"reason": now.reason} if now.reason else {}
            write("schema_recording", status=now.recording.value, **reason)
        if now.unknown is not None and now.unknown != (before and before.unknown):
            log.warning("schema_drift_unknown", reason=now.unknown)
