"""Whether the schema is what the last migration left behind, and whether the server records it.

Looked at when the service starts and every five minutes after that. Neither takes an instance out
of service: an index that was added by hand is worth a warning, and no reason to answer nobody.
"""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from prometheus_client import Metric

from app.components import Component, HealthCheck, ReportScope, Status, gauge
from app.database import Connection, Database, sql
from app.database.catalog.fingerprint import PINNED, WORDING, differences, fingerprint, shown
from app.database.catalog.recording import UNQUOTED, Recording, RecordingStatus, examine
from app.database.client.drivers import SEARCH_PATH
from app.database.client.faults import SCHEMA_UNFIT, DatabaseBugError
from app.database.migrations.backend import LOCK_KEY
from app.errors import Unavailable
from app.log import logger
from app.tasks import jittered

log = logger(__name__)

CHECK_SECONDS = 300
# While nothing is known yet. Instances that start at once hold each other off for a moment.
_RETRY_SECONDS = 5.0
_FIRST_ATTEMPTS = 4
_FIRST_PAUSE_SECONDS = 0.25
_SHOWN_MAX = 3
# Whoever holds the migrator's lock could keep us from looking; it is told of after this long.
_STALE_SECONDS = 3 * CHECK_SECONDS
_NOTHING_EXPECTED = "no migrator has said yet what to expect: `database migrate` does"
_OTHER_WORDS = "another release keeps the expected schema in other words than this one"


@dataclass(frozen=True, kw_only=True)
class SchemaTrail:
    """What is known of changes of the schema; `reason` says why they are not recorded.

    `drift` is what differs from the expected schema, one fact each, in words that may be shown;
    None where that cannot be told, and `unknown` says why. `upgraded` tells of another PostgreSQL
    than then, which may put the same schema into other words.
    """

    recording: RecordingStatus
    reason: str | None
    drift: tuple[str, ...] | None
    unknown: str | None = None
    upgraded: str | None = None

    @property
    def drift_summary(self) -> str | None:
        """The first few differences in one line; None without any."""
        if not self.drift:
            return None
        more = len(self.drift) - _SHOWN_MAX
        parts = [*self.drift[:_SHOWN_MAX], *([f"and {more} more"] if more > 0 else [])]
        return "; ".join([*parts, *([self.upgraded] if self.upgraded else [])])


async def look(connection: Connection) -> SchemaTrail:
    """Look now, whoever the connection speaks as.

    Raises Unavailable while a migration runs, whose schema is not yet what it will be.
    """
    async with connection.transaction():
        if not await sql.find_no_migrator(connection, lock_key=LOCK_KEY):
            raise Unavailable("migrating", "A migration is running.")
        expected = await _expected(connection)
        recording, _ = await _recording(connection, expected)
        if expected is None:
            return SchemaTrail(
                recording=recording.status,
                reason=recording.reason,
                drift=None,
                unknown=_NOTHING_EXPECTED,
            )
        await connection.execute(PINNED)
        facts = [WORDING, *[row["fact"] async for row in sql.list_schema_facts(connection)]]
        drift: list[str] = []
        if fingerprint(facts) != expected["fingerprint"]:
            # Without the pinned path, on which our tables are not.
            await connection.execute(f"set local search_path = {SEARCH_PATH}")
            kept = await sql.get_expected_facts(connection, id=expected["id"])
            if WORDING not in kept:
                return SchemaTrail(
                    recording=recording.status,
                    reason=recording.reason,
                    drift=None,
                    unknown=_OTHER_WORDS,
                )
            drift = differences(kept, facts)
    then, now = expected["server_version"], connection.get_server_version().major
    return SchemaTrail(
        recording=recording.status,
        reason=recording.reason,
        drift=tuple(map(shown, drift)),
        upgraded=f"PostgreSQL was {then} then and is {now} now" if then != now else None,
    )


async def look_at_recording(connection: Connection) -> tuple[Recording, bool]:
    """Return whether changes are recorded, and whether we may read what has been."""
    async with connection.transaction():
        return await _recording(connection, await _expected(connection))


async def _recording(
    connection: Connection, expected: Mapping[str, Any] | None
) -> tuple[Recording, bool]:
    await connection.execute(UNQUOTED)
    found = await sql.get_schema_recording(connection)
    return _judged(examine(found), expected), found["is_readable"]


async def _expected(connection: Connection) -> Mapping[str, Any] | None:
    if not await sql.has_expected_schema(connection):
        return None
    row: Mapping[str, Any] | None = await sql.find_expected_schema(connection)
    return row


def _judged(recording: Recording, expected: Mapping[str, Any] | None) -> Recording:
    """Tell a record that is gone from one that never was."""
    if recording.status is not RecordingStatus.UNAVAILABLE or not (
        expected and expected["recording"]
    ):
        return recording
    return Recording(
        status=RecordingStatus.BROKEN,
        reason="the server has recorded changes of the schema before, and all of that is gone",
    )


class DriftCheck(Component):
    """What was seen last, for health and metrics; news are logged once."""

    name = "drift"

    def __init__(self, database: Database) -> None:
        self._database = database
        self.trail: SchemaTrail | None = None
        self.looked_at: datetime | None = None
        self._failure: str | None = None

    @property
    def failure(self) -> str | None:
        """Why what was seen last may not be so any more; None while it is looked at in time."""
        if self._failure is not None or self.looked_at is None:
            return self._failure
        age = (datetime.now(UTC) - self.looked_at).total_seconds()
        return None if age < _STALE_SECONDS else f"not looked at for {age:.0f} seconds"

    async def start(self) -> None:
        """Look a few times at most: the start does not wait for a migration elsewhere."""
        for _ in range(_FIRST_ATTEMPTS):
            await self.run_once()
            if self.trail is not None or self.failure is not None:
                return
            await asyncio.sleep(jittered(_FIRST_PAUSE_SECONDS))

    async def run(self) -> None:
        """Look every five minutes, for ever; the start has looked already."""
        while True:
            is_known = self.trail is not None and self.failure is None
            await asyncio.sleep(jittered(CHECK_SECONDS if is_known else _RETRY_SECONDS))
            await self.run_once()

    async def run_once(self) -> None:
        """Look once; while the database is away or is migrated, what was seen last stays."""
        try:
            async with self._database.connection() as connection:
                trail = await look(connection)
        except (Unavailable, DatabaseBugError) as error:
            if isinstance(error, Unavailable) and error.code != SCHEMA_UNFIT:
                return
            # For example a right that was revoked: no reason for the task to end.
            if self._failure is None:
                log.warning("schema_not_looked_at", error=str(error))
            self._failure = "could not be looked at"
            return
        self._failure = None
        self.looked_at = datetime.now(UTC)
        before, self.trail = self.trail, trail
        self._tell(before, trail)

    def checks(self, _: ReportScope) -> Mapping[str, HealthCheck]:
        """Only warn: an index that was added by hand must not take all instances out of service."""
        if self.failure or self.trail is None:
            unknown = HealthCheck(
                status=Status.WARN,
                component_type="datastore",
                output=self.failure or "not known yet",
            )
            return {"schema:drift": unknown, "schema:audit": unknown}
        return {
            "schema:drift": self._drift_check(self.trail),
            "schema:audit": self._recording_check(self.trail),
        }

    def _drift_check(self, trail: SchemaTrail) -> HealthCheck:
        if trail.drift is None:
            return HealthCheck(status=Status.WARN, component_type="datastore", output=trail.unknown)
        return HealthCheck(
            status=Status.WARN if trail.drift else Status.PASS,
            component_type="datastore",
            observed_value=len(trail.drift),
            observed_unit="facts",
            time=self.looked_at,
            output=trail.drift_summary,
        )

    def _recording_check(self, trail: SchemaTrail) -> HealthCheck:
        """Pass for a server that cannot record: a warning that never ends helps nobody."""
        if trail.recording is RecordingStatus.UNAVAILABLE:
            output = f"not available here, because {trail.reason}"
            return HealthCheck(status=Status.PASS, component_type="datastore", output=output)
        is_broken = trail.recording is RecordingStatus.BROKEN
        return HealthCheck(
            status=Status.WARN if is_broken else Status.PASS,
            component_type="datastore",
            time=self.looked_at,
            output=trail.reason,
        )

    def metrics(self) -> Iterable[Metric]:
        # No number is better than one that is out of date.
        if self.trail is None or self.failure:
            return
        if self.trail.drift is not None:
            yield gauge(
                "flagstone_schema_drift_facts",
                "Differences between the schema and the one that the last migration recorded.",
                len(self.trail.drift),
            )
        yield gauge(
            "flagstone_schema_audit_recording",
            "1 if the server records changes of the schema, 0 if it does not.",
            self.trail.recording is RecordingStatus.RECORDING,
        )

    def _tell(self, before: SchemaTrail | None, now: SchemaTrail) -> None:
        drift, drift_before = now.drift or (), (before and before.drift) or ()
        if drift != drift_before:
            tell = log.warning if drift else log.info
            tell("schema_drift", facts=len(drift), first=now.drift_summary)
        if before is None or (before.recording, before.reason) != (now.recording, now.reason):
            tell = log.warning if now.recording is RecordingStatus.BROKEN else log.info
            tell("schema_recording", status=now.recording.value, reason=now.reason)
        if now.unknown is not None and now.unknown != (before and before.unknown):
            log.warning("schema_drift_unknown", reason=now.unknown)
