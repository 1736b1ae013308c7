"""The follower keeps the snapshots current: a notification is a hint, the poll is the truth.

Every two seconds, or at once when somebody hints, it compares the environments' revisions with its
own and reads what changed in between, in one transaction of one moment. A notification that is lost
costs at most the two seconds. While the database is away the snapshots stay, and say how old they
are.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial

from prometheus_client import Metric

from app.components import (
    HealthCheck,
    HiddenCheck,
    ReportScope,
    Status,
    counters,
    gauge,
    gauges,
)
from app.configuration.snapshots import loading
from app.configuration.snapshots.change_event import ChangeEvent
from app.configuration.snapshots.snapshot import Snapshot
from app.database import Connection, Database, sql
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
# Two polls and a bit: below this a silence is no news.
STALE_AFTER_SECONDS = 5.0
REACH_SECONDS = 2.0


class Follower(PolledCopy):
    """The snapshots of every environment, as of a moment ago."""

    name = "follower"
    poll_seconds = POLL_SECONDS
    failure_event = "follower_failed"

    def __init__(self, database: Database) -> None:
        super().__init__()
        self._database = database
        # By environment, the epoch and revision that the database had last, and its state then.
        self._read: Mapping[str, tuple[str, int]] = {}
        self._read_from: ServerState | None = None
        database.primary.is_behind = self._is_behind
        self._snapshots: Mapping[str, Snapshot] = {}
        # Those of before, until the next look.
        self._replaced: list[Mapping[str, Snapshot]] = []
        self._refreshed_at: float | None = None
        # When a refresh last found the database away, and the error.
        self._away_at = 0.0
        self._away: Unavailable | None = None
        self._advanced = asyncio.Event()
        self._refreshing = asyncio.Lock()
        # For metrics: change sets that came in, by environment and kind, and how long the last of
        # each environment took to come.
        self.change_sets: Counter[tuple[str, str]] = Counter()
        self.lag_seconds: dict[str, float] = {}

    @property
    def is_loaded(self) -> bool:
        return self._refreshed_at is not None

    def loaded(self) -> Mapping[str, Snapshot]:
        """Return every snapshot, by environment. Raises Unavailable before the first ones."""
        if not self.is_loaded:
            raise Unavailable("starting", "The service has not finished starting.")
        return self._snapshots

    @property
    def stale_seconds(self) -> float:
        """Seconds since the database last confirmed what is here; 0 while it does so regularly."""
        return self.age_seconds if self.age_seconds > STALE_AFTER_SECONDS else 0.0

    @property
    def age_seconds(self) -> float:
        """Seconds since the last refresh, 0 before the first."""
        return 0.0 if self._refreshed_at is None else time.monotonic() - self._refreshed_at

    def get(self, environment: str) -> Snapshot:
        """Return an environment's snapshot. Raises NotFound; Unavailable before the first one."""
        snapshot = self.loaded().get(environment)
        if snapshot is None:
            raise unknown_environment()
        return snapshot

    async def at_least(
        self, environment: str, revision: int, *, seconds: float = REACH_SECONDS
    ) -> Snapshot:
        """Return the snapshot once it has reached the revision.

        Raises Unavailable when it does not within the time, NotFound for the environment.
        """
        if environment not in self.loaded():
            await self.refresh()  # another instance may have made it just now
        snapshot = self.get(environment)
        if snapshot.revision >= revision:
            return snapshot
        # Whoever waits must not be the last to let go of it, here on the event loop.
        del snapshot
        self.hint()
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self.get(environment).revision < revision:
                    await self.news.wait()
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
    def news(self) -> asyncio.Event:
        """What is set at the next change, or when somebody wakes all who wait.

        Whoever looks first and then waits must take it before looking.
        """
        return self._advanced

    def wake(self) -> None:
        """Let everybody who waits look again. One event for all: a thousand wake in one go."""
        waiting, self._advanced = self._advanced, asyncio.Event()
        waiting.set()

    async def events_since(self, revision: int, up_to: Environment) -> Sequence[ChangeEvent]:
        """Return an environment's events after a revision, in order, from the history.

        Return none when there are more than `EVENTS_MAX`. Raises Unavailable when the database is
        away.
        """
        async with self._database.connection() as connection:
            return await loading.complete_events(connection, up_to, revision)

    def adopt(self, snapshots: Mapping[str, Snapshot], *, confirmed_at: float) -> None:
        """Serve these until the database says better; `confirmed_at` is on the monotonic clock."""
        self._snapshots = snapshots
        self._refreshed_at = confirmed_at
        self.wake()

    async def refresh(self) -> None:
        """Bring every snapshot up to date. Raises Unavailable when the database is away."""
        asked = time.monotonic()
        async with self._refreshing:
            if self._refreshed_at is not None and self._refreshed_at > asked:
                return  # another task's refresh began meanwhile
            if self._away is not None and self._away_at > asked:
                # Share the failure of the refresh that this one waited for.
                raise Unavailable(self._away.code, self._away.message)
            if self._replaced:
                # To free ten thousand flags takes about 40 ms. No request reads them any more.
                await in_thread("release", partial(_release, self._replaced))
            started = time.monotonic()
            try:
                async with self._database.connection() as connection:
                    read_from = session_of(connection).state
                    heads = await environments.list_all(connection)
                    followed = [(each.name, await self._follow(connection, each)) for each in heads]
            except Unavailable as error:
                self._away_at, self._away = time.monotonic(), error
                raise
            snapshots = {name: each for name, each in followed if each is not None}
            changed = snapshots.keys() != self._snapshots.keys() or any(
                self._snapshots.get(name) is not each for name, each in snapshots.items()
            )
            if changed:
                self._replaced.append(self._snapshots)
            self._snapshots = snapshots
            self._read = {name: (s.epoch, s.revision) for name, s in snapshots.items()}
            self._read_from = read_from
            self._refreshed_at = started
            self._away = self.failure = None
        if changed:
            self.wake()

    async def _follow(self, connection: Connection, head: Environment) -> Snapshot | None:
        """Return the snapshot of an environment, None if it was deleted since it was listed."""
        known = self._snapshots.get(head.name)
        if known is not None and known.environment == head:
            return known
        if known is not None and await loading.was_swapped(connection, known, head):
            log.warning("history_swapped", environment=head.name, revision=head.revision)
            await sql.renew_epoch(connection, environment=head.name, epoch=head.epoch)
            known = None
        # It may be past the head by now.
        try:
            snapshot, events = await loading.read(connection, head.name, known)
        except NotFound:
            return None
        self._count(head.name, events)
        return snapshot

    async def _is_behind(self, session: Session) -> bool:
        """Tell whether a server has fewer revisions than were read from its timeline.

        A promoted standby may lack some revisions of the timeline before.
        """
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
        stale = round(self.stale_seconds, 1)
        # Without a failure the database is away, and stale answers are better than none. With one
        # it answers others: what is read here is wrong, and will stay so.
        failure = self.failure if stale else None
        status = Status.WARN if stale else Status.PASS
        return {
            f"snapshot:{name}": (HealthCheck if scope.covers(name) else HiddenCheck)(
                status=Status.FAIL if failure else status,
                observed_value=snapshot.revision,
                observed_unit="revision",
                age_seconds=stale,
                output=failure,
            )
            for name, snapshot in self._snapshots.items()
        }

    def metrics(self) -> Iterable[Metric]:
        if not self.is_loaded:
            return
        yield gauges(
            "flagstone_environment_revision",
            "The revision that is served.",
            "environment",
            {name: snapshot.revision for name, snapshot in self._snapshots.items()},
        )
        yield gauge(
            "flagstone_snapshot_stale_seconds",
            "Seconds since the database last confirmed what is served; 0 while it does.",
            self.stale_seconds,
        )
        yield gauges(
            "flagstone_follower_lag_seconds",
            "Seconds from the last change set's making to its being served, by two clocks.",
            "environment",
            self.lag_seconds,
        )
        yield counters(
            "flagstone_change_sets",
            "Change sets that came in, whoever made them.",
            "environment kind",
            self.change_sets,
        )


def _release(replaced: list[Mapping[str, Snapshot]]) -> None:
    parts: list[Collection[object]] = [
        part
        for snapshots in replaced
        for snapshot in snapshots.values()
        for part in (snapshot.entries, snapshot.rules.flags)
    ]
    replaced.clear()
    free(parts)
