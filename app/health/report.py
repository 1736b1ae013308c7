"""The report: what is known in memory, in the shape of draft-inadarei-api-health-check-06."""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

import msgspec

from app import VERSION
from app.access.directory import TokenDirectory
from app.access.log import AccessLog
from app.access.models import Covers
from app.audit.head_export import HeadExport
from app.configuration.snapshots.follower import Follower
from app.configuration.snapshots.keeper import Keeper
from app.database import Database
from app.health.audit_checks import backups_check, chain_check, heads_check
from app.health.check import Check, Status
from app.health.database_checks import pooler_check, primary_check
from app.health.heartbeat import MISSES_UNTIL_FAIL, Heartbeat
from app.health.schema_checks import audit_check, drift_check
from app.http.lifecycle import Lifecycle
from app.operations.backups.schedule import Schedule
from app.schema.drift import DriftCheck
from app.schema.version_check import SchemaCheck
from app.secrets.vault import Vault
from app.tasks import Tasks

POOL_BUSY_RATIO = 0.9
# Ten times what a look takes. A revocation that others see may be unknown here after that.
TOKENS_AGE_SECONDS_MAX = 5.0


_WRITE = "database:write"
# Not "snapshot:disk": an environment may have that name.
_DISK = "disk:snapshots"


class Readiness(msgspec.Struct, frozen=True, kw_only=True):
    """The report as far as it is open: the status, and the last row of `health_check`."""

    status: Status
    checks: dict[str, list[Check]]


class Report(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    status: Status
    version: str
    release_id: str
    service_id: str
    instance: str
    checks: dict[str, list[Check]]


@dataclass(kw_only=True)
class Health:
    """Everything that the probes may say, gathered from memory alone."""

    lifecycle: Lifecycle
    database: Database
    heartbeat: Heartbeat
    schema: SchemaCheck
    drift: DriftCheck
    follower: Follower
    keeper: Keeper
    vault: Vault
    tokens: TokenDirectory
    access_log: AccessLog
    heads: HeadExport
    schedule: Schedule
    tasks: Tasks
    instance: str
    is_first: bool

    def readiness(self) -> Readiness:
        report = self.report()
        # The reason of a failure is for tokens alone.
        write = [msgspec.structs.replace(check, output=None) for check in report.checks[_WRITE]]
        return Readiness(status=report.status, checks={_WRITE: write})

    def report(self, covers: Covers = lambda _: True) -> Report:
        """Return every check; the status is of all environments, the names of those covered."""
        checks = {
            "lifecycle": self._lifecycle_check(),
            _WRITE: self._write_check(),
            "database:primary": primary_check(self.database),
            "database:pooler": pooler_check(self.database),
            "pool:utilization": self._pool_check(),
            "migrations:pending": self._schema_check(),
            "schema:drift": drift_check(self.drift),
            "schema:audit": audit_check(self.drift),
            **self._snapshot_checks(),
            _DISK: self._disk_check(),
            "keys": self._keys_check(covers),
            "tokens": self._tokens_check(),
            "access_log:write": self._access_log_check(),
            **(self._machine_checks(covers) if self.is_first else {}),
            **{f"tasks:{name}": self._task_check(name) for name in self.tasks.alive},
        }
        environments = self.follower.loaded() if self.follower.is_loaded else ()
        hidden = {f"snapshot:{name}" for name in environments if not covers(name)}
        return Report(
            status=_worst(check.status for check in checks.values()),
            version=VERSION.partition(".")[0],
            release_id=VERSION,
            service_id="flagstone",
            instance=self.instance,
            checks={name: [check] for name, check in checks.items() if name not in hidden},
        )

    def _lifecycle_check(self) -> Check:
        if self.lifecycle.draining.is_set():
            return Check(status=Status.FAIL, output="draining")
        if not self.lifecycle.started.is_set():
            return Check(status=self._failure, output="starting")
        return Check(status=Status.PASS, output="started")

    def _write_check(self) -> Check:
        last, good = self.heartbeat.last, self.heartbeat.last_good
        missed = self.heartbeat.misses_in_a_row
        # An exhausted pool says that we are busy, not that the database is away: taking a busy
        # instance out would push its load onto the others.
        if last is not None and last.code == "pool_exhausted":
            status = Status.WARN
        elif missed >= MISSES_UNTIL_FAIL or good is None:
            status = self._failure
        else:
            status = Status.WARN if missed else Status.PASS
        row = good.row if good else None
        return Check(
            status=status,
            component_type="datastore",
            observed_value=row.latency_ms if row else None,
            observed_unit="ms",
            time=row.checked_at if row else None,
            age_seconds=round(time.monotonic() - good.monotonic, 1) if good else None,
            consecutive_failures=missed,
            row=row,
            output=last.code if last else "no heartbeat yet",
        )

    def _pool_check(self) -> Check:
        use = self.database.use
        busy = (use.size - use.idle) / use.limit
        return Check(
            status=Status.WARN if use.waiting or busy >= POOL_BUSY_RATIO else Status.PASS,
            observed_value=round(busy, 2),
            observed_unit="ratio",
            time=datetime.now(UTC),
            size=use.size,
            idle=use.idle,
            limit=use.limit,
            waiting=use.waiting,
        )

    def _schema_check(self) -> Check:
        state = self.schema.state
        if state is None:
            status = self._failure
            return Check(status=status, component_type="datastore", output="not known yet")
        newer = Status.WARN if state.unknown else Status.PASS
        return Check(
            status=Status.FAIL if state.pending else newer,
            component_type="datastore",
            observed_value=state.pending,
            observed_unit="migrations",
            expected=state.expected,
            applied=state.applied,
        )

    def _snapshot_checks(self) -> dict[str, Check]:
        if not self.follower.is_loaded:
            return {"snapshots": Check(status=Status.FAIL, output="not loaded yet")}
        stale = round(self.follower.stale_seconds, 1)
        # Without a failure the database is away, and stale answers are better than none. With one
        # it answers others: what is read here is wrong, and will stay so.
        failure = self.follower.failure if stale else None
        status = Status.WARN if stale else Status.PASS
        return {
            f"snapshot:{name}": Check(
                status=Status.FAIL if failure else status,
                observed_value=snapshot.revision,
                observed_unit="revision",
                age_seconds=stale,
                output=failure,
            )
            for name, snapshot in self.follower.loaded().items()
        }

    def _disk_check(self) -> Check:
        failure = self.keeper.failure
        return Check(status=Status.WARN if failure else Status.PASS, output=failure)

    def _keys_check(self, covers: Covers) -> Check:
        problem = self.vault.problem_among(set(filter(covers, self.vault.active_since)))
        return Check(
            status=Status.WARN if problem else Status.PASS,
            observed_value=sum(self.vault.counts.values()),
            observed_unit="data keys",
            output=problem,
        )

    def _tokens_check(self) -> Check:
        """Report tokens that were not confirmed in time: a revoked one may be accepted here.

        As for snapshots, a failure of its own is worse than a database that is away.
        """
        age = self.tokens.age_seconds
        is_fresh = age is not None and age < TOKENS_AGE_SECONDS_MAX
        failure = None if is_fresh else self.tokens.failure
        status = Status.PASS if is_fresh else Status.WARN
        return Check(
            status=Status.FAIL if failure else status,
            component_type="datastore",
            observed_value=len(self.tokens.usable),
            observed_unit="tokens",
            age_seconds=None if age is None else round(age, 1),
            output=failure or (None if is_fresh else "not confirmed by the database of late"),
        )

    def _access_log_check(self) -> Check:
        """Evaluation goes on without a log, so it takes nobody out of service."""
        trouble = self.access_log.trouble
        return Check(
            status=Status.WARN if trouble else Status.PASS,
            component_type="datastore",
            output=trouble,
        )

    def _machine_checks(self, covers: Covers) -> dict[str, Check]:
        """What the first of several workers does for all of them, so that it alone knows."""
        return {
            "audit:chain": chain_check(self.heads, covers),
            "audit:heads": heads_check(self.heads),
            **({"backups": backups_check(self.schedule)} if self.schedule.is_on else {}),
        }

    @property
    def _failure(self) -> Status:
        """With something to serve from, an outage of the database must not become ours."""
        return Status.WARN if self.follower.is_loaded else Status.FAIL

    def _task_check(self, name: str) -> Check:
        """Only warn: what a failing task makes useless has a check of its own."""
        failures = self.tasks.failures[name]
        if not failures:
            return Check(status=Status.PASS)
        output = "failed, is restarted; see task_failed in the log"
        return Check(status=Status.WARN, consecutive_failures=failures, output=output)


def _worst(statuses: Iterable[Status]) -> Status:
    found = set(statuses)
    return next((s for s in (Status.FAIL, Status.WARN) if s in found), Status.PASS)
