"""The snapshots that a process serves, whatever they come from.

Handlers, streams, readiness and the disk keeper use a `SnapshotSource`. It has two implementations:
`Follower` reads PostgreSQL, and the upstream source of a relay reads another Flagstone over HTTP.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial

from prometheus_client import Metric

from app.components import HealthCheck, ReportScope, Status
from app.configuration.snapshots.change_event import ChangeEvent
from app.configuration.snapshots.follower_report import (
    change_metrics,
    snapshot_checks,
    snapshot_metrics,
)
from app.configuration.snapshots.loading import Advance
from app.configuration.snapshots.replacements import Replacements
from app.configuration.snapshots.snapshot import Snapshot
from app.database.polling import PolledCopy
from app.environments.models import Environment
from app.environments.service import unknown_environment
from app.errors import Unavailable
from app.threads import free, in_thread

# More than two polls, so that one failed poll is not reported.
STALE_AFTER_SECONDS = 5.0
REACH_SECONDS = 2.0


class SnapshotSource(PolledCopy):
    """The current snapshot of every environment.

    A subclass implements `refresh`, `notice` and `events_since`.
    """

    def __init__(self) -> None:
        super().__init__()
        self._snapshots: Mapping[str, Snapshot] = {}
        # Held while snapshots are read, so that two tasks never compile the same ones.
        self.refreshing = asyncio.Lock()
        # Large old snapshots. The next refresh frees them.
        self._replaced: list[Snapshot] = []
        self._refreshed_at: float | None = None
        # The error of the last refresh, if it failed because the origin was away.
        self._away: Unavailable | None = None
        self._next_change = asyncio.Event()
        # For metrics: received change sets by environment and kind, and the delay of the last one.
        self.change_sets: Counter[tuple[str, str]] = Counter()
        self.lag_seconds: dict[str, float] = {}
        self._replacements = Replacements()

    @property
    def is_loaded(self) -> bool:
        return self._refreshed_at is not None

    def loaded(self) -> Mapping[str, Snapshot]:
        """Return every snapshot by environment. Raises Unavailable before the first refresh."""
        if not self.is_loaded:
            raise Unavailable("starting", "The service has not finished starting.")
        return self._snapshots

    @property
    def stale_seconds(self) -> float:
        """Seconds since the origin last confirmed the snapshots; 0 up to 5 seconds."""
        return self.age_seconds if self.age_seconds > STALE_AFTER_SECONDS else 0.0

    @property
    def age_seconds(self) -> float:
        """Seconds since the last refresh, 0 before the first."""
        return 0.0 if self._refreshed_at is None else time.monotonic() - self._refreshed_at

    def get(self, environment: str) -> Snapshot:
        """Return an environment's snapshot. Raises NotFound, and Unavailable as `loaded` does."""
        snapshot = self.loaded().get(environment)
        if snapshot is None:
            raise unknown_environment()
        return snapshot

    async def at_least(
        self, environment: str, revision: int, *, seconds: float = REACH_SECONDS
    ) -> Snapshot:
        """Wait for the revision, and return its snapshot. Raises Unavailable and NotFound."""
        if environment not in self.loaded():
            await self.refresh()  # another instance may have just created it
        snapshot = self.get(environment)
        if snapshot.revision >= revision:
            return snapshot
        # Drop our reference first: freeing a large snapshot here would block the event loop.
        del snapshot
        self.notice(environment, revision)
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self.get(environment).revision < revision:
                    await self.next_change.wait()
        snapshot = self.get(environment)
        if snapshot.revision < revision:
            raise Unavailable(
                "revision_not_reached", f"This instance is at revision {snapshot.revision}."
            )
        return snapshot

    async def try_refresh(self) -> bool:
        """Refresh within two seconds, unless the last one failed. Return whether it succeeded."""
        if self._away is not None:
            return False
        refresh = asyncio.ensure_future(self.refresh())
        # Retrieve the error even when this task is cancelled first.
        refresh.add_done_callback(lambda done: done.cancelled() or done.exception())
        await asyncio.wait([refresh], timeout=REACH_SECONDS)
        return refresh.done() and not refresh.cancelled() and refresh.exception() is None

    @property
    def next_change(self) -> asyncio.Event:
        """The event that is set at the next change or by `wake`.

        Get it before reading a snapshot, so that no change between reading and waiting is missed.
        """
        return self._next_change

    def wake(self) -> None:
        """Wake all waiting tasks. They share one event, so that a thousand wake at once."""
        change, self._next_change = self._next_change, asyncio.Event()
        change.set()

    def adopt(self, snapshots: Mapping[str, Snapshot], *, confirmed_at: float) -> None:
        """Serve these until the next refresh. `confirmed_at` is of the monotonic clock."""
        self._snapshots = snapshots
        self._refreshed_at = confirmed_at
        self.wake()

    async def refresh(self) -> None:
        """Bring every snapshot up to date. Raises Unavailable when the origin is away."""
        raise NotImplementedError

    def notice(self, environment: str, revision: int) -> None:
        """Read an environment soon, unless its snapshot has reached the revision."""
        raise NotImplementedError

    async def events_since(self, revision: int, up_to: Environment) -> Sequence[ChangeEvent]:
        """Return the events after a revision, or none if there are too many to read.

        Raises Unavailable.
        """
        raise NotImplementedError

    def _replace(self, snapshots: Mapping[str, Snapshot]) -> None:
        """Serve these snapshots, and wake the waiting tasks if one of them is new."""
        before, self._snapshots = self._snapshots, snapshots
        self._replaced += [before[name] for name in before.keys() - snapshots.keys()]
        if before.keys() != snapshots.keys() or any(
            before[name] is not snapshot for name, snapshot in snapshots.items()
        ):
            self.wake()

    def _latest(self, environment: str, advance: Advance) -> Snapshot:
        """Return the snapshot, or the current one if that is later."""
        current, snapshot = self._snapshots.get(environment), advance.snapshot
        if current is snapshot:
            return snapshot
        if current is not None:
            if current.epoch == snapshot.epoch and current.revision > snapshot.revision:
                return current
            self._record(environment, current, advance)
        return snapshot

    def _record(self, environment: str, current: Snapshot, advance: Advance) -> None:
        """Count the new change sets, report a new epoch, and free a large old snapshot later."""
        if current.epoch != advance.snapshot.epoch:
            self._replacements.record(current, advance.snapshot)
        if advance.is_large:
            self._replaced.append(current)
        self._count(
            environment, [event for event in advance.events if event.revision > current.revision]
        )

    async def _free_replaced(self) -> None:
        """Free replaced snapshots in a thread: ten thousand flags take about 40 ms."""
        if self._replaced:
            await in_thread("release", partial(_free_snapshots, self._replaced))

    def _count(self, environment: str, events: Sequence[ChangeEvent]) -> None:
        for event in events:
            self.change_sets[environment, event.data.kind] += 1
        if events:
            lag = datetime.now(UTC) - events[-1].data.created_at
            self.lag_seconds[environment] = max(0.0, lag.total_seconds())

    def checks(self, scope: ReportScope) -> Mapping[str, HealthCheck]:
        if not self.is_loaded:
            return {"snapshots": HealthCheck(status=Status.FAIL, output="not loaded yet")}
        return snapshot_checks(
            self.loaded(),
            round(self.stale_seconds, 1),
            self.failure,
            self._replacements.outputs(),
            scope,
        )

    def metrics(self) -> Iterable[Metric]:
        if not self.is_loaded:
            return
        yield from snapshot_metrics(self.loaded(), self.stale_seconds)
        # From 0 on: Prometheus sees no increase in a counter that begins at 1.
        replacements = dict.fromkeys(self.loaded(), 0) | self._replacements.counts
        yield from change_metrics(self.change_sets, replacements, self.lag_seconds)


def _free_snapshots(replaced: list[Snapshot]) -> None:
    parts: list[Collection[object]] = [
        list(part.values())
        for snapshot in replaced
        for part in (snapshot.entries, snapshot.rules.flags)
    ]
    replaced.clear()
    free(parts)
