"""Backups that the service makes by itself: every so often, by the command that operators use.

In a process of its own, so that nothing that it does is done on the event loop, nor in this
process's memory, and whatever becomes of it leaves the service as it was. When the next one is due
is read from the folder: a restart neither repeats nor forgets one, nor does an operator's own.
"""

import asyncio
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime

from prometheus_client import Metric

from app.components import Component, HealthCheck, ReportScope, Status, counter, gauge
from app.crypto.signing import Signer
from app.errors import reason
from app.log import logger
from app.operations.backups import store, unfinished
from app.operations.backups.manifest import Manifest
from app.operations.backups.store import Backup
from app.settings import BackupSettings, Secret
from app.tasks import repeat
from app.threads import in_thread

log = logger(__name__)

LOOK_SECONDS = 60.0
# A disk that is full, or a server that is away, is not asked again at once.
_RETRY_SECONDS = 300.0
# Above the command's own limit, which a process that was stopped knows nothing of.
_WHOLE_SECONDS = 5 * 3600
_END_SECONDS = 10
_WORDS_BYTES_MAX = 4_096
_ERROR = "error: "


class Schedule(Component):
    """What is known of the backups of this machine's folder, and whoever makes the next one."""

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
        """How old the last good backup is, None while there is none."""
        if self.last is None:
            return None
        return (datetime.now(UTC) - self.last.created_at).total_seconds()

    @property
    def is_late(self) -> bool:
        """Whether one was missed: the last is older than two intervals."""
        age = self.age_seconds
        return age is not None and age > 2 * self._settings.interval_seconds

    async def run(self) -> None:
        """Make backups for ever."""
        pause = min(LOOK_SECONDS, self._settings.interval_seconds / 5)
        await repeat(lambda: pause, self.run_once)

    async def run_once(self) -> None:
        """Make a backup if one is due, and clear away what is above BACKUP_KEEP."""
        started = time.monotonic()
        try:
            is_busy = await self._look()
            if is_busy or not self._is_due:
                return
            problem = await self._make()
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
        # Whatever the clocks say that made the last one seem old, or of a time that is yet to come.
        self._not_before = started + pause

    @property
    def _is_due(self) -> bool:
        age = self.age_seconds
        is_old = age is None or age >= self._settings.interval_seconds
        return is_old and time.monotonic() >= self._not_before

    async def _make(self) -> str | None:
        problem = await _run("create")
        if problem is not None:
            return problem
        await self._look()
        log.info("backup_made", name=self.last.name if self.last else None)
        return await _run("prune")

    async def _look(self) -> bool:
        """Find the newest backup that is whole by its manifest, and signed by this installation;
        tell whether somebody makes another just now, such as the child of a service that is gone.

        Raises OSError.
        """
        key, folder = self._key, self._settings.folder

        def look() -> tuple[Sequence[Backup], bool]:
            return store.list_all(folder, key), unfinished.is_under_way(folder)

        backups, is_busy = await in_thread("backups", look)
        self.last = _newest(backups)
        self.is_ahead = any(each.is_ahead for each in backups)
        if self._failed_at is not None and self.last and self.last.created_at > self._failed_at:
            self.failure = self._failed_at = None
        return is_busy

    def checks(self, _: ReportScope) -> Mapping[str, HealthCheck]:
        """Only warn: every other instance serves the same."""
        last, age = self.last, self.age_seconds
        failed = "the last attempt failed, see the log" if self.failure else None
        late = "older than two intervals" if self.is_late else None
        ahead = "one is of a moment that is yet to come, see the clocks" if self.is_ahead else None
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
    return next((each.manifest for each in store.usable(backups)), None)


async def _run(verb: str) -> str | None:
    """Run a verb of `backup`; return what went wrong, in its own words, None when nothing did.

    It has limits in time of its own. When this is cancelled it is told to end, and cleans up.
    """
    try:
        child = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "app", "backup", verb),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            # Ctrl-C in our terminal is for us, who then end it.
            start_new_session=True,
        )
    except OSError as error:
        return f"backup {verb} cannot be run: {reason(error)}"
    try:
        async with asyncio.timeout(_WHOLE_SECONDS):
            words = await _last_words(child)
            code = await child.wait()
    except TimeoutError:
        await _end(child)
        return f"backup {verb} did not end within {_WHOLE_SECONDS / 3600:g} hours"
    except asyncio.CancelledError:
        await _end(child)
        raise
    if code == 0:
        return None
    errors = [line.removeprefix(_ERROR) for line in words.splitlines() if line.startswith(_ERROR)]
    return errors[-1] if errors else f"backup {verb} ended with exit code {code}"


async def _last_words(child: asyncio.subprocess.Process) -> str:
    words = b""
    while child.stderr is not None and (chunk := await child.stderr.read(_WORDS_BYTES_MAX)):
        words = (words + chunk)[-_WORDS_BYTES_MAX:]
    return words.decode(errors="replace")


async def _end(child: asyncio.subprocess.Process) -> None:
    with suppress(ProcessLookupError):
        child.terminate()
    try:
        async with asyncio.timeout(_END_SECONDS):
            await child.wait()
    except TimeoutError:
        with suppress(ProcessLookupError):
            child.kill()
