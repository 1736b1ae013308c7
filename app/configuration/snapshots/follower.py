"""The follower keeps a snapshot of each environment up to date.

It applies the change sets of this process itself, and reads those of others after a notification.
Every two seconds it compares all revisions with the database, so a lost notification delays a
change by at most two seconds. While the database is away, the last snapshots stay in use.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from itertools import groupby
from operator import attrgetter

from prometheus_client import Metric

from app.components import HealthCheck, ReportScope, Status
from app.configuration.snapshots import loading, own_changes
from app.configuration.snapshots.change_event import ChangeEvent
from app.configuration.snapshots.follower_report import (
    change_metrics,
    snapshot_checks,
    snapshot_metrics,
)
from app.configuration.snapshots.loading import Advance, HistorySwappedError
from app.configuration.snapshots.snapshot import Snapshot
from app.database import Commit, Connection, Database, sql
from app.database.client.pool import session_of
from app.database.client.primary import ServerState, Session
from app.database.polling import PolledCopy
from app.environments import service as environments
from app.environments.models import Environment
from app.environments.service import unknown_environment
from app.errors import NotFound, Unavailable
from app.log import logger
from app.threads import free, in_thread

log = logger(__name__)

POLL_SECONDS = 2.0
# More than two polls, so that one failed poll is not reported.
STALE_AFTER_SECONDS = 5.0
REACH_SECONDS = 2.0


class Follower(PolledCopy):
    """The current snapshot of every environment."""

    name = "follower"
    poll_seconds = POLL_SECONDS
    failure_event = "follower_failed"

    def __init__(self, database: Database) -> None:
        super().__init__()
        self._database = database
        # Epoch and revision of each environment at the last refresh, and the state of the server.
        self._read: Mapping[str, tuple[str, int]] = {}
        self._read_from: ServerState | None = None
        database.primary.is_behind = self._is_behind
        database.commit_listeners.append(self.committed)
        self._snapshots: Mapping[str, Snapshot] = {}
        # Large old snapshots. The next refresh frees them.
        self._replaced: list[Snapshot] = []
        # Noticed revisions since the last update, by environment.
        self._noticed: dict[str, int] = {}
        self._is_all_hinted = False
        self._refreshed_at: float | None = None
        # When the last refresh failed because the database was away, and the error.
        self._away_at = 0.0
        self._away: Unavailable | None = None
        self._next_change = asyncio.Event()
        self._refreshing = asyncio.Lock()
        # For metrics: received change sets by environment and kind, and the delay of the last one.
        self.change_sets: Counter[tuple[str, str]] = Counter()
        self.lag_seconds: dict[str, float] = {}

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
        """Seconds since the database last confirmed the snapshots; 0 up to 5 seconds."""
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

    async def events_since(self, revision: int, up_to: Environment) -> Sequence[ChangeEvent]:
        """Return the events after a revision, or none above `EVENTS_MAX`. Raises Unavailable."""
        async with self._database.connection() as connection:
            return await loading.complete_events(connection, up_to, revision)

    def adopt(self, snapshots: Mapping[str, Snapshot], *, confirmed_at: float) -> None:
        """Serve these until the next refresh. `confirmed_at` is of the monotonic clock."""
        self._snapshots = snapshots
        self._refreshed_at = confirmed_at
        self.wake()

    def hint(self) -> None:
        self._is_all_hinted = True
        super().hint()

    def notice(self, environment: str, revision: int) -> None:
        """Read an environment soon, unless its snapshot has reached the revision."""
        known = self._snapshots.get(environment)
        if known is None:
            self.hint()
        elif known.revision < revision:
            self._noticed[environment] = max(revision, self._noticed.get(environment, 0))
            super().hint()

    def committed(self, commits: Sequence[Commit]) -> None:
        """Apply change sets that this process has committed, in their order, or read them soon."""
        for environment, group in groupby(commits, attrgetter("environment")):
            of_environment = list(group)
            try:
                self._apply(environment, of_environment)
            except Exception:
                # The write is committed, so its response must not fail.
                log.exception("own_change_not_applied", environment=environment)
            self.notice(environment, of_environment[-1].revision)

    def _apply(self, environment: str, commits: Sequence[Commit]) -> None:
        known = self._snapshots.get(environment)
        changes = own_changes.leading(known, commits)
        if known is not None and changes:
            advance = own_changes.applied(known, changes)
            self._serve({**self._snapshots, environment: self._latest(environment, advance)})

    async def update(self) -> None:
        """Read the noticed environments, or refresh all after the interval and after a hint."""
        noticed, self._noticed = self._noticed, {}
        if not noticed or self._is_all_hinted or self.age_seconds >= POLL_SECONDS:
            await self.refresh()
            return
        for name, revision in noticed.items():
            if not await self._read_since(name, revision):
                await self.refresh()
                return

    async def refresh(self) -> None:
        """Bring every snapshot up to date. Raises Unavailable when the database is away."""
        asked = time.monotonic()
        async with self._refreshing:
            if self._refreshed_at is not None and self._refreshed_at > asked:
                return  # another task's refresh began after this call
            if self._away is not None and self._away_at > asked:
                # The refresh that this call waited for has just failed.
                raise Unavailable(self._away.code, self._away.message)
            await self._free_replaced()
            self._is_all_hinted = False
            started = time.monotonic()
            try:
                async with self._database.connection() as connection:
                    read_from = session_of(connection).state
                    heads = await environments.list_all(connection)
                    followed = [(head.name, await self._follow(connection, head)) for head in heads]
            except Unavailable as error:
                self._away_at, self._away = time.monotonic(), error
                raise
            self._serve(
                {name: self._latest(name, advance) for name, advance in followed if advance}
            )
            self._read_from = read_from
            self._refreshed_at = started
            self._away = self.failure = None

    async def _follow(self, connection: Connection, head: Environment) -> Advance | None:
        """Return the snapshot of an environment, or None if it was deleted after the listing."""
        known = self._snapshots.get(head.name)
        if known is not None and known.environment == head:
            return Advance(snapshot=known)
        # The snapshot can be later than the head.
        with suppress(NotFound):
            if known is not None and known.epoch == head.epoch:
                try:
                    return await loading.read_since(connection, known)
                except HistorySwappedError:
                    log.warning("history_swapped", environment=head.name, revision=head.revision)
                    await sql.renew_epoch(connection, environment=head.name, epoch=head.epoch)
            return Advance(snapshot=await loading.read(connection, head.name), is_large=True)
        return None

    async def _read_since(self, environment: str, revision: int) -> bool:
        """Read the changes of one environment. Return False if all must be refreshed instead."""
        async with self._refreshing:
            await self._free_replaced()
            known = self._snapshots.get(environment)
            if known is None or known.revision >= revision:
                return known is not None
            try:
                async with self._database.connection() as connection:
                    if session_of(connection).state != self._read_from:
                        return False
                    advance = await loading.read_since(connection, known)
            except (NotFound, HistorySwappedError):
                return False
            self._serve({**self._snapshots, environment: self._latest(environment, advance)})
        return True

    def _latest(self, environment: str, advance: Advance) -> Snapshot:
        """Return the snapshot, or the current one if own changes have made that later."""
        current, snapshot = self._snapshots.get(environment), advance.snapshot
        if current is snapshot:
            return snapshot
        if current is not None:
            if current.epoch == snapshot.epoch and current.revision > snapshot.revision:
                return current
            if advance.is_large:
                self._replaced.append(current)
            self._count(
                environment,
                [event for event in advance.events if event.revision > current.revision],
            )
        return snapshot

    def _serve(self, snapshots: Mapping[str, Snapshot]) -> None:
        before, self._snapshots = self._snapshots, snapshots
        self._replaced += [before[name] for name in before.keys() - snapshots.keys()]
        self._read = {name: (s.epoch, s.revision) for name, s in snapshots.items()}
        if before.keys() != snapshots.keys() or any(
            before[name] is not snapshot for name, snapshot in snapshots.items()
        ):
            self.wake()

    async def _free_replaced(self) -> None:
        """Free replaced snapshots in a thread: ten thousand flags take about 40 ms."""
        if self._replaced:
            await in_thread("release", partial(_free_snapshots, self._replaced))

    async def _is_behind(self, session: Session) -> bool:
        """Return whether a server lacks revisions of its timeline, as a promoted standby may."""
        if not self._read or session.state != self._read_from:
            return False
        read = [(name, epoch, revision) for name, (epoch, revision) in self._read.items()]
        names, epochs, revisions = zip(*read, strict=True)
        is_behind: bool = await sql.is_behind(
            session, environments=names, epochs=epochs, revisions=revisions
        )
        return is_behind

    def _count(self, environment: str, events: Sequence[ChangeEvent]) -> None:
        for event in events:
            self.change_sets[environment, event.data.kind] += 1
        if events:
            lag = datetime.now(UTC) - events[-1].data.created_at
            self.lag_seconds[environment] = max(0.0, lag.total_seconds())

    def checks(self, scope: ReportScope) -> Mapping[str, HealthCheck]:
        if not self.is_loaded:
            return {"snapshots": HealthCheck(status=Status.FAIL, output="not loaded yet")}
        return snapshot_checks(self.loaded(), round(self.stale_seconds, 1), self.failure, scope)

    def metrics(self) -> Iterable[Metric]:
        if not self.is_loaded:
            return
        yield from snapshot_metrics(self.loaded(), self.stale_seconds)
        yield from change_metrics(self.change_sets, self.lag_seconds)


def _free_snapshots(replaced: list[Snapshot]) -> None:
    parts: list[Collection[object]] = [
        list(part.values())
        for snapshot in replaced
        for part in (snapshot.entries, snapshot.rules.flags)
    ]
    replaced.clear()
    free(parts)
