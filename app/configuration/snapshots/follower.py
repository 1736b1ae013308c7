"""The follower keeps a snapshot of each environment up to date.

It applies the change sets of this process itself, and reads those of others after a notification.
Every two seconds it compares all revisions with the database, so a lost notification delays a
change by at most two seconds. While the database is away, the last snapshots stay in use.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import groupby
from operator import attrgetter

from app.configuration.snapshots import loading, own_changes
from app.configuration.snapshots.change_event import ChangeEvent
from app.configuration.snapshots.loading import Advance, HistorySwappedError
from app.configuration.snapshots.residency import entries_in
from app.configuration.snapshots.snapshot import Snapshot
from app.configuration.snapshots.source import SnapshotSource, later
from app.database import Commit, Connection, Database, sql
from app.database.client.pool import session_of
from app.database.client.primary import ServerState, Session
from app.environments import service as environments
from app.environments.models import Environment
from app.errors import AppError, NotFound, Unavailable
from app.log import logger

log = logger(__name__)

POLL_SECONDS = 2.0
PRELOAD_SECONDS = 2.0
# Later changes are read after the load, as any other.
_CATCH_UPS_MAX = 3


class Follower(SnapshotSource):
    """The snapshots of the environments in the database."""

    name = "follower"
    poll_seconds = POLL_SECONDS
    failure_event = "follower_failed"

    def __init__(self, database: Database, idle_seconds: float = 0.0) -> None:
        super().__init__(idle_seconds)
        self._database = database
        # The state of the server at the last refresh.
        self._read_from: ServerState | None = None
        database.primary.is_behind = self._is_behind
        database.commit_listeners.append(self.committed)
        # Noticed revisions since the last update, by environment.
        self._noticed: dict[str, int] = {}
        self._is_all_hinted = False
        # When the last refresh failed because the database was away.
        self._away_at = 0.0
        self._preloading: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Read the environments, and load as many as stay in memory when idle, for 2 seconds.

        An instance that is ready must not be slow at first. The rest is loaded in the background.
        """
        await super().start()
        if self._preloading is not None:
            await asyncio.wait([self._preloading], timeout=PRELOAD_SECONDS)

    async def close(self) -> None:
        if self._preloading is not None:
            self._preloading.cancel()
        await super().close()

    async def events_since(self, revision: int, up_to: Environment) -> Sequence[ChangeEvent]:
        """Return the events after a revision, or none above `EVENTS_MAX`. Raises Unavailable."""
        async with self._database.connection() as connection:
            return await loading.complete_events(connection, up_to, revision)

    def hint(self) -> None:
        self._is_all_hinted = True
        super().hint()

    def notice(self, environment: str, revision: int) -> None:
        """Read an environment soon, unless its snapshot has reached the revision."""
        known = self._snapshots.get(environment)
        if known is None and environment not in self._heads:
            self.hint()
        elif known is None:
            # A load reads the latest state, and the poll reads the revision.
            if environment in self.loads:
                seen = self._noticed_in_load.get(environment, 0)
                self._noticed_in_load[environment] = max(revision, seen)
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
        known, head = self._snapshots.get(environment), self._heads.get(environment)
        changes = own_changes.leading(head if known is None else known.environment, commits)
        if not changes:
            return
        if known is not None:
            advance = own_changes.applied(known, changes)
            self._serve_one(self._latest(environment, advance))
        else:
            # For `_is_behind`: a later primary must have what this process has committed.
            self._heads = {**self._heads, environment: changes[-1].head}

    async def update(self) -> None:
        """Read the noticed environments, or refresh all after the interval and after a hint."""
        await self.drop_idle()
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
        async with self.refreshing:
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
                    await self._renew_swapped(connection, heads)
                    followed = [
                        (head.name, await self._follow(connection, head))
                        for head in heads
                        if self.uses.are_all_loaded or head.name in self._snapshots
                    ]
            except Unavailable as error:
                self._away_at, self._away = time.monotonic(), error
                raise
            self._serve_all(heads, dict(followed))
            self._read_from = read_from
            self._refreshed_at = started
            self._away = self.failure = None

    def _serve_all(
        self, heads: Sequence[Environment], followed: Mapping[str, Advance | None]
    ) -> None:
        """Serve what a refresh has read, and the environments that were loaded meanwhile."""
        snapshots, known = {}, self._heads
        for head in heads:
            snapshot, advance = self._snapshots.get(head.name), followed.get(head.name)
            if advance is not None:
                snapshots[head.name] = self._latest(head.name, advance)
                self._saved_at.pop(head.name, None)
            elif snapshot is not None and head.name not in followed:
                snapshots[head.name] = snapshot
            elif head.name in known and known[head.name].epoch != head.epoch:
                self._replacements.record(known[head.name], head)
        served = {head.name: later(known.get(head.name, head), head) for head in heads}
        served |= {
            name: later(served[name], snapshot.environment)
            for name, snapshot in snapshots.items()
            if name not in self._saved_at
        }
        self._replace(snapshots, served)
        if self.uses.are_all_loaded:
            return
        preloading = self._preloading
        if preloading is None or (preloading.done() and served.keys() - known.keys()):
            self._preloading = asyncio.create_task(self._preload(), name="preload")

    async def _preload(self) -> None:
        """Load environments as long as all in memory may stay there when idle.

        First those that were evaluated last.
        """
        try:
            async with self._database.connection() as connection:
                sizes = [
                    (row["environment"], row["entries"])
                    async for row in sql.list_preload_order(connection)
                ]
            for name, entries in sizes:
                free = self.uses.warm_entries - entries_in(self._snapshots)
                if name in self._heads and name not in self._snapshots and entries <= free:
                    with suppress(NotFound):
                        await self.loads.wait(name)
        except AppError as error:
            # They are loaded when they are asked for.
            log.info("preload_ended", code=error.code)

    async def fetch(self, environment: str) -> Snapshot:
        if self._away is not None:
            raise Unavailable(self._away.code, self._away.message)
        async with self._database.connection() as connection:
            snapshot = await loading.read(connection, environment)
            # A writer that was answered meanwhile reads its change without `min_revision`.
            with suppress(HistorySwappedError):
                for _ in range(_CATCH_UPS_MAX):
                    if snapshot.revision >= self._noticed_in_load.get(environment, 0):
                        break
                    snapshot = (await loading.read_since(connection, snapshot)).snapshot
        return snapshot

    async def read_lines(self, environment: str) -> tuple[Environment, list[bytes]]:
        async with self._database.connection() as connection:
            return await loading.read_lines(connection, environment)

    async def _renew_swapped(self, connection: Connection, heads: Sequence[Environment]) -> None:
        """Renew the epoch of histories that lack what was read, of environments without snapshot.

        `_follow` does this for the others.
        """
        changed = [
            known
            for head in heads
            if head.name not in self._snapshots
            and not self.uses.are_all_loaded
            and (known := self._heads.get(head.name)) is not None
            and known.epoch == head.epoch
            and known.revision
            and (known.revision, known.hash) != (head.revision, head.hash)
        ]
        if not changed:
            return
        rows = sql.list_swapped(
            connection,
            environments=[known.name for known in changed],
            revisions=[known.revision for known in changed],
            hashes=[known.hash for known in changed],
        )
        names = {row["environment"] async for row in rows}
        for known in changed:
            if known.name in names:
                log.warning("history_swapped", environment=known.name, revision=known.revision)
                await sql.renew_epoch(connection, environment=known.name, epoch=known.epoch)
                self.hint()

    async def _follow(self, connection: Connection, head: Environment) -> Advance | None:
        """Return the snapshot of an environment, or None if it was deleted after the listing."""
        known = self._snapshots.get(head.name)
        if known is not None and known.environment == head:
            return Advance(snapshot=known)
        if known is not None and known.epoch == head.epoch:
            try:
                return await loading.read_since(connection, known)
            except HistorySwappedError:
                log.warning("history_swapped", environment=head.name, revision=head.revision)
                await sql.renew_epoch(connection, environment=head.name, epoch=head.epoch)
            except NotFound:
                # Deleted after the listing, or another instance has just renewed the epoch.
                log.info("epoch_not_found", environment=head.name)
        # The snapshot can be later than the head.
        with suppress(NotFound):
            return Advance(snapshot=await loading.read(connection, head.name), is_large=True)
        return None

    async def _read_since(self, environment: str, revision: int) -> bool:
        """Read the changes of one environment. Return False if all must be refreshed instead."""
        async with self.refreshing:
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
            self._serve_one(self._latest(environment, advance))
        return True

    def _serve_one(self, snapshot: Snapshot) -> None:
        name = snapshot.environment.name
        self._saved_at.pop(name, None)
        self._replace(
            {**self._snapshots, name: snapshot}, {**self._heads, name: snapshot.environment}
        )

    async def _is_behind(self, session: Session) -> bool:
        """Return whether a server lacks revisions of its timeline, as a promoted standby may."""
        if not self._heads or session.state != self._read_from:
            return False
        read = [(head.name, head.epoch, head.revision) for head in self._heads.values()]
        names, epochs, revisions = zip(*read, strict=True)
        is_behind: bool = await sql.is_behind(
            session, environments=names, epochs=epochs, revisions=revisions
        )
        return is_behind
