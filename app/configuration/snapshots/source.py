"""The snapshots that a process serves, whatever they come from.

Handlers, streams, readiness and the disk keeper use a `SnapshotSource`. It has two implementations:
`Follower` reads PostgreSQL, and the upstream source of a relay reads another Flagstone over HTTP.
All environments are known, and those in use have a snapshot in memory.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from types import MappingProxyType

from prometheus_client import Metric

from app.access.permissions import Keys
from app.components import HealthCheck, ReportScope, Status
from app.configuration.snapshots.change_event import ChangeEvent
from app.configuration.snapshots.follower_report import (
    change_metrics,
    load_metrics,
    snapshot_checks,
    snapshot_metrics,
)
from app.configuration.snapshots.limited import PartMaker
from app.configuration.snapshots.loading import Advance
from app.configuration.snapshots.replacements import Replacements
from app.configuration.snapshots.residency import Loads, Uses
from app.configuration.snapshots.snapshot import Snapshot
from app.database.polling import PolledCopy
from app.environments.models import Environment
from app.environments.service import unknown_environment
from app.errors import Unavailable
from app.log import logger
from app.threads import free, in_thread

log = logger(__name__)

# More than two polls, so that one failed poll is not reported.
STALE_AFTER_SECONDS = 5.0
REACH_SECONDS = 2.0


@dataclass(frozen=True, kw_only=True)
class SavedSnapshot:
    """A snapshot from the disk, and when the origin confirmed it, by the monotonic clock."""

    snapshot: Snapshot
    confirmed_at: float
    is_behind: bool


class SnapshotSource(PolledCopy):
    """The environments, and the current snapshot of each that is in memory.

    A subclass implements `refresh`, `notice`, `events_since` and `fetch`. `read_saved` reads an
    environment from the disk while the origin is away.
    """

    read_saved: Callable[[str], Awaitable[SavedSnapshot | None]] | None = None

    def __init__(self, idle_seconds: float = 0.0) -> None:
        super().__init__()
        # Every environment, also those that are not in memory.
        self._heads: Mapping[str, Environment] = {}
        self._snapshots: Mapping[str, Snapshot] = {}
        # Snapshots from the disk that the origin has not confirmed since: when it last did.
        self._saved_at: dict[str, float] = {}
        # Revisions that were noticed during the load of their environment.
        self._noticed_in_load: dict[str, int] = {}
        self.uses = Uses(idle_seconds)
        self.loads = Loads(self._load)
        self.parts = PartMaker(self._in_memory)
        self.drops = 0
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

    def environments(self) -> Mapping[str, Environment]:
        """Return every environment by name. Raises Unavailable before the first refresh."""
        self._require_start()
        return self._heads

    def loaded(self) -> Mapping[str, Snapshot]:
        """Return the snapshots in memory. Raises Unavailable before the first refresh."""
        self._require_start()
        return self._snapshots

    def require(self, environment: str) -> Environment:
        """Return an environment. Raises NotFound, and Unavailable before the first refresh."""
        head = self.environments().get(environment)
        if head is None:
            raise unknown_environment()
        return head

    def confirmed(self) -> Mapping[str, Snapshot]:
        """Return the snapshots in memory, except those from the disk that may be older."""
        if not self._saved_at:
            return self._snapshots
        return {n: s for n, s in self._snapshots.items() if n not in self._saved_at}

    def _require_start(self) -> None:
        if not self.is_loaded:
            raise Unavailable("starting", "The service has not finished starting.")

    def stale_seconds_of(self, environment: str) -> float:
        """Return the seconds since the origin confirmed a snapshot; 0 up to 5 seconds."""
        saved_at = self._saved_at.get(environment) if self._saved_at else None
        if saved_at is None:
            return self.stale_seconds
        return max(self.stale_seconds, time.monotonic() - saved_at)

    @property
    def stale_seconds(self) -> float:
        """Seconds since the origin last confirmed the snapshots; 0 up to 5 seconds."""
        return self.age_seconds if self.age_seconds > STALE_AFTER_SECONDS else 0.0

    @property
    def age_seconds(self) -> float:
        """Seconds since the last refresh, 0 before the first."""
        return 0.0 if self._refreshed_at is None else time.monotonic() - self._refreshed_at

    def peek(self, environment: str) -> Snapshot | None:
        """Return an environment's snapshot, None if it must be loaded. Raises as `get` does."""
        snapshot = self._snapshots.get(environment)
        if snapshot is None:
            self.require(environment)
        self.uses.asked.add(environment)
        return snapshot

    def get(self, environment: str) -> Snapshot:
        """Return an environment's snapshot from memory.

        Raises NotFound, and Unavailable if it must be loaded, or as `loaded` does.
        """
        snapshot = self.peek(environment)
        if snapshot is None:
            raise Unavailable("snapshot_not_loaded", "The environment is not in memory. Try again.")
        return snapshot

    async def read(self, environment: str) -> Snapshot:
        """Return an environment's snapshot, and load it if it is not in memory.

        Raises NotFound, and Unavailable if it cannot be loaded in time.
        """
        snapshot = self.peek(environment)
        if snapshot is not None:
            return snapshot
        await self.loads.wait(environment)
        return self.get(environment)

    def _in_memory(self, environment: str) -> Snapshot | None:
        return self._snapshots.get(environment)

    async def part(self, snapshot: Snapshot, keys: Keys) -> Snapshot:
        """Return the part of a snapshot for these keys, made in a thread if it is large.

        If the snapshot changes meanwhile, it is the part of the current one.
        """
        if not snapshot.has_part(keys):
            name = snapshot.environment.name
            await self.parts.wait(name, keys)
            snapshot = self._snapshots.get(name, snapshot)
        return snapshot.limited_to(keys)

    async def at_least(
        self, environment: str, revision: int, *, seconds: float = REACH_SECONDS
    ) -> Snapshot:
        """Wait for the revision, and return its snapshot. Raises Unavailable and NotFound."""
        if environment not in self.environments():
            await self.refresh()  # another instance may have just created it
        snapshot = await self.read(environment)
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

    def is_cold(self, environment: str) -> bool:
        """Whether a load comes before the next read. It reads all that is committed by now."""
        return environment in self._heads and environment not in self._snapshots

    def adopt(
        self,
        snapshots: Mapping[str, Snapshot],
        heads: Iterable[Environment] = (),
        *,
        confirmed_at: float,
        saved_at: Mapping[str, float] = MappingProxyType({}),
    ) -> None:
        """Serve these until the next refresh. `read_saved` loads the snapshots of other heads.

        The times are of the monotonic clock. `saved_at` has those of snapshots that are older.
        """
        self._saved_at = dict(saved_at)
        self._snapshots = snapshots
        self._heads = {
            **{head.name: head for head in heads},
            **{name: snapshot.environment for name, snapshot in snapshots.items()},
        }
        self._refreshed_at = confirmed_at
        self.wake()

    async def _load(self, environment: str) -> str:
        """Put an environment into memory, and return where it comes from.

        Raises NotFound, and Unavailable if neither the origin nor the disk has it.
        """
        try:
            snapshot = await self.fetch(environment)
        except Unavailable:
            saved = await self.read_saved(environment) if self.read_saved is not None else None
            if saved is None:
                raise
            log.warning(
                "serving_saved_environment",
                environment=environment,
                revision=saved.snapshot.revision,
            )
            self._put(saved.snapshot, saved)
            return "disk"
        self._put(snapshot)
        return "origin"

    def _put(self, snapshot: Snapshot, saved: SavedSnapshot | None = None) -> None:
        """Serve a snapshot that was loaded, unless its environment was deleted meanwhile."""
        name = snapshot.environment.name
        noticed = self._noticed_in_load.pop(name, 0)
        head = self._heads.get(name)
        if head is None:
            return
        self.uses.asked.add(name)
        is_behind = head.epoch != snapshot.epoch or head.revision > snapshot.revision
        heads = self._heads
        if saved is None:
            heads = {**heads, name: later(head, snapshot.environment)}
        elif is_behind or saved.is_behind:
            self._saved_at[name] = saved.confirmed_at
        self._replace({**self._snapshots, name: snapshot}, heads)
        if is_behind:
            # The refresh finds out which of the two is the later one.
            self.hint()
        elif noticed > snapshot.revision:
            self.notice(name, noticed)

    async def drop_idle(self) -> None:
        """Drop the snapshots that were not asked for in `idle_seconds`, if there are many."""
        self.uses.settle(self._snapshots)
        if not self.uses.idle(self._snapshots):
            return
        # A refresh would add them again.
        async with self.refreshing:
            self.uses.settle(self._snapshots)
            names = self.uses.idle(self._snapshots)
            self._replaced += [self._snapshots[name] for name in names]
            self._snapshots = {n: s for n, s in self._snapshots.items() if n not in names}
            self._saved_at = {n: at for n, at in self._saved_at.items() if n in self._snapshots}
            self.drops += len(names)
            await self._free_replaced()
        log.info("snapshots_dropped", environments=names, idle_seconds=self.uses.idle_seconds)

    async def read_lines(self, environment: str) -> tuple[Environment, list[bytes]]:
        """Read the entries of an environment that is not in memory, each as JSON.

        Raises NotFound and Unavailable.
        """
        raise NotImplementedError

    async def fetch(self, environment: str) -> Snapshot:
        """Read an environment from the origin. Raises NotFound and Unavailable."""
        raise NotImplementedError

    async def close(self) -> None:
        self.loads.close()
        self.parts.close()

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

    def _replace(self, snapshots: Mapping[str, Snapshot], heads: Mapping[str, Environment]) -> None:
        """Serve these snapshots, and wake the waiting tasks if something has changed."""
        before, self._snapshots = self._snapshots, snapshots
        known, self._heads = self._heads, heads
        self._replaced += [before[name] for name in before.keys() - snapshots.keys()]
        if known.keys() != heads.keys() or any(
            before.get(name) is not snapshot for name, snapshot in snapshots.items()
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
            self._replacements.record(current.environment, advance.snapshot.environment)
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
            self.environments(),
            {name: self.stale_seconds_of(name) for name in self._heads},
            {name: self._state_of(name) for name in self._heads if name not in self._snapshots},
            self.failure,
            {
                **self._replacements.outputs(),
                **{name: self._state_of(name) for name in self.loads.broken},
            },
            scope,
        )

    def _state_of(self, environment: str) -> str:
        if environment in self.loads.broken:
            return "the environment cannot be loaded, see snapshot_not_loaded in the log"
        if environment in self.loads:
            return "the environment is being loaded"
        return "not in memory: loaded when it is asked for"

    def metrics(self) -> Iterable[Metric]:
        if not self.is_loaded:
            return
        yield from snapshot_metrics(self._heads, self._snapshots, self.stale_seconds)
        yield from load_metrics(self.loads.results, self.drops)
        # From 0 on: Prometheus sees no increase in a counter that begins at 1.
        replacements = dict.fromkeys(self._heads, 0) | self._replacements.counts
        yield from change_metrics(self.change_sets, replacements, self.lag_seconds)


def later(known: Environment, head: Environment) -> Environment:
    """Return the later state of an environment. A new epoch is later than the known one."""
    return known if known.epoch == head.epoch and known.revision > head.revision else head


def _free_snapshots(replaced: list[Snapshot]) -> None:
    parts: list[Collection[object]] = [
        list(part.values())
        for snapshot in replaced
        for part in (snapshot.entries, snapshot.rules.flags)
    ]
    replaced.clear()
    free(parts)
