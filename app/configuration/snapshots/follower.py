"""The follower keeps a snapshot of each environment up to date.

It applies the change sets of this process itself, and reads those of others after a notification.
Every two seconds it compares all revisions with the database, so a lost notification delays a
change by at most two seconds. While the database is away, the last snapshots stay in use.
"""

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import groupby
from operator import attrgetter

from app.configuration.snapshots import loading, own_changes
from app.configuration.snapshots.change_event import ChangeEvent
from app.configuration.snapshots.loading import Advance, HistorySwappedError
from app.configuration.snapshots.snapshot import Snapshot
from app.configuration.snapshots.source import SnapshotSource
from app.database import Commit, Connection, Database, sql
from app.database.client.pool import session_of
from app.database.client.primary import ServerState, Session
from app.environments import service as environments
from app.environments.models import Environment
from app.errors import NotFound, Unavailable
from app.log import logger

log = logger(__name__)

POLL_SECONDS = 2.0


class Follower(SnapshotSource):
    """The snapshots of the environments in the database."""

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
        # Noticed revisions since the last update, by environment.
        self._noticed: dict[str, int] = {}
        self._is_all_hinted = False
        # When the last refresh failed because the database was away.
        self._away_at = 0.0

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
            self._serve({**self._snapshots, environment: self._latest(environment, advance)})
        return True

    def _serve(self, snapshots: Mapping[str, Snapshot]) -> None:
        self._read = {name: (s.epoch, s.revision) for name, s in snapshots.items()}
        self._replace(snapshots)

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
