"""The schedule of backups: run `backup create` and `backup prune` every BACKUP_INTERVAL.

The age of the newest backup in the folder decides when the next one is due. So a restart repeats
none, and a backup by an operator counts.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime

from prometheus_client import Metric

from app.components import Component, HealthCheck, ReportScope, Status, counter, gauge
from app.crypto.signing import Signer
from app.errors import reason
from app.log import logger
from app.operations.backups import partial_backup, store
from app.operations.backups.child import run_command
from app.operations.backups.manifest import Manifest
from app.operations.backups.store import Backup
from app.settings import BackupSettings, Secret
from app.tasks import repeat
from app.threads import in_thread

log = logger(__name__)

LOOK_SECONDS = 60.0
# The pause after a failure, for example of a full disk.
_RETRY_SECONDS = 300.0


class Schedule(Component):
    """Runs the backups of this host, and reports them in health and metrics."""

    name = "backups"

    def __init__(self, settings: BackupSettings, key: Secret) -> None:
        self._settings = settings
        self._key = Signer(key).public_key
        self._not_before = 0.0
        self._failed_at: datetime | None = None
        self.last: Manifest | None = None
        self.is_ahead = False
        self.failure: str | None = None
        self.failures = 0

    @property
    def age_seconds(self) -> float | None:
        """The age of the last usable backup, None without one."""
        if self.last is None:
            return None
        return (datetime.now(UTC) - self.last.created_at).total_seconds()

    @property
    def is_late(self) -> bool:
        """Whether the last backup is older than two intervals."""
        age = self.age_seconds
        return age is not None and age > 2 * self._settings.interval_seconds

    async def run(self) -> None:
        """Check at least once a minute whether a backup is due. Never returns."""
        pause = min(LOOK_SECONDS, self._settings.interval_seconds / 5)
        await repeat(lambda: pause, self.run_once)

    async def run_once(self) -> None:
        """Create a backup if one is due, and prune to BACKUP_KEEP."""
        started = time.monotonic()
        try:
            is_busy = await self._read_folder()
            if is_busy or not self._is_due:
                return
            problem = await self._create()
        except OSError as error:
            problem = reason(error)
            if started < self._not_before:
                return
        self.failure = problem
        pause = self._settings.interval_seconds
        if problem is not None:
            pause = min(_RETRY_SECONDS, pause)
            self._failed_at = datetime.now(UTC)
            self.failures += 1
            log.error("backup_failed", reason=problem)
        # By the monotonic clock: the age of the last backup may come from a wrong clock.
        self._not_before = started + pause

    @property
    def _is_due(self) -> bool:
        age = self.age_seconds
        is_old = age is None or age >= self._settings.interval_seconds
        return is_old and time.monotonic() >= self._not_before

    async def _create(self) -> str | None:
        problem = await run_command("create")
        if problem is not None:
            return problem
        await self._read_folder()
        log.info("backup_made", name=self.last.name if self.last else None)
        return await run_command("prune")

    async def _read_folder(self) -> bool:
        """Read the newest usable backup; return whether a process creates another one now.

        That process may be the child of an earlier run of this service. Raises OSError.
        """
        key, folder = self._key, self._settings.folder

        def read() -> tuple[Sequence[Backup], bool]:
            return store.list_all(folder, key), partial_backup.is_running(folder)

        backups, is_busy = await in_thread("backups", read)
        self.last = _newest(backups)
        self.is_ahead = any(backup.is_ahead for backup in backups)
        if self._failed_at is not None and self.last and self.last.created_at > self._failed_at:
            self.failure = self._failed_at = None
        return is_busy

    def checks(self, _: ReportScope) -> Mapping[str, HealthCheck]:
        """Only warn: the instance can serve without backups."""
        last, age = self.last, self.age_seconds
        failed = "the last attempt failed, see the log" if self.failure else None
        late = "older than two intervals" if self.is_late else None
        ahead = "the time of one is in the future, check the clocks" if self.is_ahead else None
        check = HealthCheck(
            status=Status.WARN if failed or late or ahead else Status.PASS,
            observed_value=last.bytes if last else None,
            observed_unit="bytes" if last else None,
            time=last.created_at if last else None,
            age_seconds=None if age is None else round(age),
            output=failed or late or ahead or (None if last else "none yet"),
        )
        return {"backups": check}

    def metrics(self) -> Iterable[Metric]:
        yield counter("flagstone_backup_failures", "Scheduled backups that failed.", self.failures)
        if self.last is not None:
            yield gauge(
                "flagstone_backup_last_success_timestamp_seconds",
                "Unix time of the state in the last successful backup.",
                self.last.created_at.timestamp(),
            )
            yield gauge(
                "flagstone_backup_last_bytes",
                "Bytes of the last successful backup.",
                self.last.bytes,
            )
            yield gauge(
                "flagstone_backup_last_duration_seconds",
                "Seconds that the last successful backup took.",
                self.last.seconds,
            )


def _newest(backups: Sequence[Backup]) -> Manifest | None:
    return next((backup.manifest for backup in store.usable(backups)), None)
