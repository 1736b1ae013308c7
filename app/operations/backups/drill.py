"""The backup drill: run `backup verify` for the newest backup every BACKUP_VERIFY_INTERVAL.

The folder decides when the next drill is due, by the newest verification and the last record. So
instances that share the folder make one drill together, and a verification by an operator counts.
"""

import os
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

from prometheus_client import Metric

from app.components import Component, HealthCheck, ReportScope, Status, counters, gauge
from app.crypto.signing import Signer
from app.errors import reason
from app.log import logger
from app.operations.backups import drill_record, partial_backup, store
from app.operations.backups.child import run_command
from app.operations.backups.drill_record import RECORD, DrillRecord
from app.operations.backups.store import Backup
from app.operations.backups.temporary_server import remove_leftovers
from app.settings import Secret, Settings
from app.tasks import repeat
from app.threads import in_thread

log = logger(__name__)

LOOK_SECONDS = 60.0
# The pause after a failure. A restore is too expensive for a shorter one.
_RETRY_SECONDS = 3600.0
# The lowest priority: requests and backups go first.
_NICENESS = 19


@dataclass(frozen=True, kw_only=True)
class _FolderState:
    """The contents of BACKUP_DIR. `is_busy` says whether a backup is created now."""

    backups: Sequence[Backup]
    last: DrillRecord | None
    is_busy: bool

    @property
    def newest(self) -> Backup | None:
        """The newest backup, also a damaged one: a drill must not pass by an older one."""
        return next((backup for backup in self.backups if not backup.is_ahead), None)

    @property
    def verified_at(self) -> datetime | None:
        times = [backup.verification.at for backup in self.backups if backup.verification]
        return max(times, default=None)


class Drill(Component):
    """Runs the drills of this host, and reports them in health and metrics."""

    name = "backup_drill"

    def __init__(self, settings: Settings, key: Secret) -> None:
        self._settings = settings.backups
        self._instance = settings.instance
        self._account = settings.database.embedded_account
        self._key = Signer(key).public_key
        self._since = datetime.now(UTC)
        self._not_before = 0.0
        self.last: DrillRecord | None = None
        self.verified_at: datetime | None = None
        self.obstacle: str | None = None
        self.runs = {"success": 0, "failure": 0}

    @property
    def failure(self) -> str | None:
        """Why the last drill failed; None if a verification has succeeded since."""
        if self.last is None or (self.verified_at and self.verified_at > self.last.at):
            return None
        return self.last.problem

    @property
    def is_overdue(self) -> bool:
        """Whether the last verification, or the start without one, is two intervals ago."""
        age = datetime.now(UTC) - (self.verified_at or self._since)
        return age.total_seconds() > 2 * self._settings.verify_interval_seconds

    async def run(self) -> None:
        """Check at least once a minute whether a drill is due. Never returns."""
        await self._remove_leftovers()
        pause = min(LOOK_SECONDS, self._settings.verify_interval_seconds / 5)
        await repeat(lambda: pause, self.run_once)

    async def run_once(self) -> None:
        """Run a drill if one is due, and no other instance and no backup runs."""
        try:
            state = await self._read_folder()
            self.obstacle = None if state.backups else "there is no backup to verify"
            if state.is_busy or state.newest is None or not self._is_due:
                return
            descriptor = await in_thread(
                "backup_drill", partial(drill_record.lock, self._settings.folder)
            )
            if descriptor is None:
                return
            try:
                # Another instance may have ended its drill just before, or begun a backup.
                state = await self._read_folder()
                if state.newest is not None and not state.is_busy and self._is_due:
                    await self._drill(state.newest, descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            self.obstacle = f"BACKUP_DIR cannot be used: {reason(error)}"
            log.warning("backup_drill_not_possible", reason=self.obstacle)

    @property
    def _is_due(self) -> bool:
        if time.monotonic() < self._not_before:
            return False
        interval = self._settings.verify_interval_seconds
        pause = min(_RETRY_SECONDS, interval) if self.failure else interval
        times = [self.verified_at] if self.verified_at else []
        times += [self.last.at] if self.last else []
        if not times:
            return True
        age = (datetime.now(UTC) - max(times)).total_seconds()
        # A time in the future comes from a wrong clock.
        return age >= pause or age < -pause

    async def _read_folder(self) -> _FolderState:
        """Read the folder, and remember the results in it. Raises OSError."""
        key, folder = self._key, self._settings.folder

        def read() -> _FolderState:
            return _FolderState(
                backups=store.list_all(folder, key),
                last=drill_record.read(folder),
                is_busy=partial_backup.is_running(folder),
            )

        state = await in_thread("backup_drill", read)
        self.last, self.verified_at = state.last, state.verified_at
        return state

    async def _drill(self, backup: Backup, descriptor: int) -> None:
        """Verify the backup, and record the result. Raises OSError."""
        started = time.monotonic()
        log.info("backup_drill_started", backup=backup.name)
        problem = backup.problem or await self._verify(backup.name, descriptor)
        if problem is not None:
            await self._remove_leftovers()
            if not await in_thread("backup_drill", backup.folder.is_dir):
                log.info("backup_drill_ended", backup=backup.name, reason="the backup was pruned")
                return
        seconds = round(time.monotonic() - started, 3)
        self.runs["failure" if problem else "success"] += 1
        if problem is None:
            log.info("backup_drill_succeeded", backup=backup.name, seconds=seconds)
        else:
            log.error("backup_drill_failed", backup=backup.name, reason=problem, seconds=seconds)
        self.last = DrillRecord(
            at=datetime.now(UTC),
            backup=backup.name,
            seconds=seconds,
            instance=self._instance,
            problem=problem,
        )
        # By the monotonic clock: the record may not be writable, and the clock may be wrong.
        interval = self._settings.verify_interval_seconds
        self._not_before = time.monotonic() + min(_RETRY_SECONDS, interval)
        await in_thread(
            "backup_drill", partial(drill_record.write, self._settings.folder, self.last)
        )
        await self._read_folder()

    async def _remove_leftovers(self) -> None:
        """Remove the data in clear and the server that a killed drill left."""
        # Without a folder for temporary files there are none, and the drill reports that.
        with suppress(OSError):
            await in_thread("backup_drill", partial(remove_leftovers, self._account))

    async def _verify(self, name: str, descriptor: int) -> str | None:
        file = self._settings.verify_identity
        identity = () if file is None else ("--identity", str(file))
        # The child inherits the lock: it ends its drill even if this process is killed.
        return await run_command(
            "verify", name, *identity, niceness=_NICENESS, descriptors=(descriptor,)
        )

    def checks(self, _: ReportScope) -> Mapping[str, HealthCheck]:
        """Only warn: the instance can serve without backups."""
        # The reason may name files, so it is only in the log and in the record.
        failed = f"the last drill failed, see {RECORD} in BACKUP_DIR" if self.failure else None
        overdue = "the last success is older than two intervals" if self.is_overdue else None
        problem = self.obstacle or failed or overdue
        at = self.verified_at
        check = HealthCheck(
            status=Status.WARN if problem else Status.PASS,
            observed_value=self.last.seconds if self.last else None,
            observed_unit="s" if self.last else None,
            time=at,
            age_seconds=None if at is None else round((datetime.now(UTC) - at).total_seconds()),
            output=problem or (None if at else "none yet"),
        )
        return {"backups:drill": check}

    def metrics(self) -> Iterable[Metric]:
        yield counters(
            "flagstone_backup_drills",
            "Backup drills that this process ran, by outcome: success or failure.",
            "outcome",
            self.runs,
        )
        yield gauge(
            "flagstone_backup_drill_is_good",
            "1 if the last drill succeeded and is not overdue, else 0.",
            float(not (self.obstacle or self.failure or self.is_overdue)),
        )
        if self.verified_at is not None:
            yield gauge(
                "flagstone_backup_drill_last_success_timestamp_seconds",
                "Unix time of the last successful drill or verification.",
                self.verified_at.timestamp(),
            )
        if self.last is not None:
            yield gauge(
                "flagstone_backup_drill_last_duration_seconds",
                "Seconds that the last drill took, also if it failed.",
                self.last.seconds,
            )
