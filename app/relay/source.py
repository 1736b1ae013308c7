"""The snapshots of a relay: those of its upstream, read over HTTP.

A stream brings the positions of all environments after each change, and each second. The relay
fetches what differs from its own. If the stream is silent, it polls. After each change it compares
the digest of the whole state with that of the upstream, so it finds a lost change, an answer that
was cut, and a database that was replaced. Then it reads the environment in full.
"""

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec  # noqa: TC002 - the class has the annotation at run time

from app.configuration.snapshots.change_event import ChangeEvent
from app.configuration.snapshots.loading import Advance
from app.configuration.snapshots.snapshot import Snapshot
from app.configuration.snapshots.source import SnapshotSource
from app.environments.models import Environment
from app.errors import ForeseenError, Unavailable
from app.evaluation.lists import HashedList
from app.log import logger
from app.relay import updates
from app.relay.client import UpstreamClient, decoded, unfit
from app.relay.credentials import RelayedCredentials
from app.relay.lists import load_lists
from app.relay.path import CIRCLE, DEPTH_MAX
from app.relay.protocol import Update, UpstreamState
from app.tasks import Backoff

log = logger(__name__)

POLL_SECONDS = 2.0
# An upstream with several instances may answer from one that is behind. After this time, its
# database is an older one.
GO_BACK_SECONDS = 10.0
# Above this, the changed environments are fetched.
_PUSHED_MAX = 100
_PAUSE_SECONDS = 0.2
_PAUSE_SECONDS_MAX = 5.0


class CircleError(ForeseenError):
    """The upstream of this relay follows this relay."""


class UpstreamSource(SnapshotSource):
    """The snapshots of the environments that the token of the relay reaches."""

    name = "upstream"
    poll_seconds = POLL_SECONDS
    failure_event = "upstream_not_read"

    def __init__(self, client: UpstreamClient) -> None:
        super().__init__()
        self._client = client
        self.credentials = RelayedCredentials(client, on_change=self.wake)
        # The latest state: when it came, the position of each environment, and its own age.
        self._heard_at: float | None = None
        self._positions: dict[str, str] = {}
        self._upstream_stale_seconds = 0.0
        self.depth = 1
        # Held during a poll, and when the last one began that was answered or failed.
        self._polling = asyncio.Lock()
        self._polled_at = 0.0
        # Since when the upstream has been behind, by environment.
        self._behind_since: dict[str, float] = {}
        # Updates that the stream has brought, in their order.
        self._pushed: list[msgspec.Raw] = []
        # Why the upstream cannot be read. None after a success.
        self.problem: str | None = None
        self.last_heard: datetime | None = None
        self._backoff = Backoff(_PAUSE_SECONDS, _PAUSE_SECONDS_MAX)
        # For metrics: the fetches by kind.
        self.fetches = {"pushed": 0, "changes": 0, "full": 0}

    def silent_seconds(self, now: float) -> float:
        """Return the seconds since the upstream last sent its state, 0 before the first."""
        return 0.0 if self._heard_at is None else now - self._heard_at

    async def start(self) -> None:
        """Read everything. Raises Unavailable, and CircleError if the upstream follows this relay.

        The token of a circle could never be checked, so waiting would not help.
        """
        try:
            await self.refresh()
        except Unavailable as error:
            if error.code == CIRCLE:
                raise CircleError(error.message) from None
            raise

    async def refresh(self) -> None:
        called = time.monotonic()
        async with self._polling:
            if self._polled_at > called:
                # Another task's poll began after this call.
                if self._away is not None:
                    raise Unavailable(self._away.code, self._away.message)
                return
            asked = time.monotonic()
            try:
                await self._poll(asked)
            except Unavailable as error:
                self._polled_at = asked
                self._fail(error)
                raise
            self._polled_at = asked

    async def _poll(self, asked: float) -> None:
        state = await self._client.state()
        # If the stream has brought a state in the meantime, this one may be older.
        if self._heard_at is None or self._heard_at <= asked:
            self._hear(state, asked, is_whole=True)
        if not self.credentials.is_loaded:
            await self.credentials.refresh()
        await self._reach()

    def notice(self, environment: str, revision: int) -> None:
        known = self._snapshots.get(environment)
        if known is None or known.revision < revision:
            self.hint()

    async def events_since(self, revision: int, up_to: Environment) -> Sequence[ChangeEvent]:
        """Return no events: a relay has those in memory only, and a client reads all again."""
        del revision, up_to
        return ()

    async def update(self) -> None:
        """Fetch what the latest state names, or poll if the stream is silent."""
        if self._heard_at is None or time.monotonic() - self._heard_at >= POLL_SECONDS:
            await self.refresh()
            return
        try:
            await self._reach()
        except Unavailable as error:
            self._fail(error)
            # A part of the upstream's state cannot be read. Its stream asks for it each second.
            await self._backoff.pause()
            raise

    async def follow(self) -> None:
        """Read the stream of states. Connect again after each end. Never returns."""
        backoff = Backoff(_PAUSE_SECONDS, _PAUSE_SECONDS_MAX)
        while True:
            try:
                async with aclosing(self._client.states()) as states:
                    is_first = True
                    async for state in states:
                        self._hear(state, time.monotonic(), is_whole=is_first)
                        is_first = False
                        backoff.reset()
            except Unavailable as error:
                self._fail(error)
            await backoff.pause()

    def _hear(self, state: UpstreamState, at: float, *, is_whole: bool) -> None:
        """Take a state. Wake the task that fetches if it differs from this relay's."""
        if state.depth >= DEPTH_MAX:
            raise unfit(
                f"is {state.depth} relays away from the database, and {DEPTH_MAX - 1} are allowed"
            )
        if is_whole:
            self._positions = {}
        for name, position in state.environments.items():
            if position is None:
                self._positions.pop(name, None)
            else:
                self._positions[name] = position
        if len(self._pushed) < _PUSHED_MAX:
            self._pushed += state.updates
        self.depth = state.depth + 1
        self._heard_at = at
        self._upstream_stale_seconds = state.stale_seconds
        self.last_heard = datetime.now(UTC) - timedelta(seconds=state.stale_seconds)
        self.credentials.note(state, at)
        if self.has_all():
            self._confirm()
        else:
            self.hint()

    def _confirm(self) -> None:
        """Take the time of the latest state as that of the snapshots."""
        if self._heard_at is None:
            return
        if self.problem is not None:
            log.info("upstream_back", url=self._client.url)
        self.problem = self.failure = self._away = None
        self._backoff.reset()
        self._refreshed_at = self._heard_at - self._upstream_stale_seconds

    def _fail(self, error: Unavailable) -> None:
        before, self._away, self.problem = self._away, error, error.message
        # The words vary while the upstream is away.
        if before is None or before.code != error.code:
            log.warning("upstream_away", url=self._client.url, reason=error.message)

    def has_all(self) -> bool:
        return self._positions.keys() == self._snapshots.keys() and all(
            self._is_reached(name, position) for name, position in self._positions.items()
        )

    def _is_reached(self, name: str, position: str) -> bool:
        """Return whether the snapshot of an environment is at a position, or soon enough at it."""
        known = self._snapshots.get(name)
        if known is None:
            return False
        if known.position == position:
            self._behind_since.pop(name, None)
            return True
        epoch, revision, _ = position.split(":")
        if known.epoch != epoch or known.revision <= int(revision):
            return False
        since = self._behind_since.setdefault(name, time.monotonic())
        return time.monotonic() - since < GO_BACK_SECONDS

    async def _reach(self) -> None:
        """Fetch each environment that is not at its position. Raises Unavailable."""
        async with self.refreshing:
            await self._free_replaced()
            pushed, self._pushed = self._pushed, []
            for raw in pushed:
                await self._take(decoded(raw, Update))
            for name in list(self._positions):
                position = self._positions.get(name)
                if position is not None and not self._is_reached(name, position):
                    await self._fetch(name, position)
            gone = self._snapshots.keys() - self._positions.keys()
            if gone:
                self._serve_all({n: s for n, s in self._snapshots.items() if n not in gone})
            if self.has_all():
                self._confirm()

    async def _take(self, update: Update) -> None:
        """Apply an update of the stream, if it continues the snapshot of its environment.

        If it does not, the environment is fetched.
        """
        head = update.head
        known = self._snapshots.get(head.environment.name)
        if known is None or known.epoch != head.environment.epoch or known.revision != head.after:
            return
        advance = await updates.applied(update, known, self._load_lists)
        if advance is not None:
            self.fetches["pushed"] += 1
            self._serve(head.environment.name, advance)

    def _serve(self, name: str, advance: Advance) -> None:
        known = self._snapshots.get(name)
        self._behind_since.pop(name, None)
        if known is not None:
            self._record(name, known, advance)
        self._serve_all({**self._snapshots, name: advance.snapshot})

    def _serve_all(self, snapshots: Mapping[str, Snapshot]) -> None:
        self._replace(snapshots, {name: s.environment for name, s in snapshots.items()})

    async def fetch(self, environment: str) -> Snapshot:
        """Read all environments: a relay has all that its token reaches in memory.

        It must serve them while the upstream is away.
        """
        await self.refresh()
        return self.get(environment)

    async def _fetch(self, name: str, position: str) -> None:
        known = self._snapshots.get(name)
        epoch, revision, _ = position.split(":")
        advance = None
        if known is not None and known.epoch == epoch and known.revision < int(revision):
            advance = await self._read(name, known)
            if advance is None:
                log.warning("upstream_differs", environment=name, revision=known.revision)
        if advance is None:
            advance = await self._read(name, None)
        if advance is None:
            raise unfit("sent an environment that does not have its digest")
        self._serve(name, advance)

    async def _load_lists(self, values: Iterable[Any]) -> list[HashedList]:
        return await load_lists(self._client, values)

    async def _read(self, name: str, known: Snapshot | None) -> Advance | None:
        """Return what the upstream has, None if the result does not have its digest."""
        self.fetches["full" if known is None else "changes"] += 1
        after = "" if known is None else f"{known.epoch}:{known.revision}"
        async with self._client.update(name, after) as lines:
            return await updates.received(lines, name, known, self._load_lists)
