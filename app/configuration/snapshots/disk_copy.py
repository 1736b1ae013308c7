"""The keeper writes what is served to disk after each change, and serves it to a start in need."""

import asyncio
import threading
import time
from collections.abc import Mapping
from contextlib import suppress

from app.access.directory import TokenDirectory
from app.access.models import Token
from app.components import Component, HealthCheck, ReportScope, Status
from app.configuration.snapshots.disk import Disk, SavedEnvironment, SavedState, State
from app.configuration.snapshots.follower import Follower
from app.configuration.snapshots.snapshot import Snapshot, build
from app.errors import reason
from app.log import logger
from app.tasks import wait_at_most
from app.threads import in_thread

log = logger(__name__)

Served = tuple[Mapping[str, Snapshot], Mapping[str, Token]]

# Changes often come in rows: the first one waits for those that follow.
_SETTLE_SECONDS = 1.0
# Tokens change without a sign, and the age of the file must not grow while all is well.
_LOOK_SECONDS = 3.0


class DiskCopy(Component):
    """Between the disk and what is served from memory."""

    name = "keeper"

    def __init__(self, follower: Follower, tokens: TokenDirectory, disk: Disk | None) -> None:
        self._disk = disk
        self._follower = follower
        self._tokens = tokens
        self._written: Served | None = None
        # At the end the event loop writes for itself, and a thread may still be at it.
        self._keeping = threading.Lock()
        self.failure: str | None = None

    async def run(self) -> None:
        """Keep the disk up to date for ever."""
        if self._disk is None:
            return
        try:
            while True:
                news = self._follower.news
                await self.run_once()
                await wait_at_most(_LOOK_SECONDS, news)
                await asyncio.sleep(_SETTLE_SECONDS)
        finally:
            with suppress(OSError):
                self._keep(self._served())
            self._disk.release()

    async def run_once(self) -> None:
        """Write what is served, unless it is there already. Never raises for the disk."""
        served = self._served()
        try:
            await in_thread("keep", lambda: self._keep(served))
        except OSError as error:
            failure = reason(error)
            if failure != self.failure:
                log.warning("snapshot_not_written", reason=failure)
            self.failure = failure
        else:
            self.failure = None

    def checks(self, _: ReportScope) -> Mapping[str, HealthCheck]:
        # Not "snapshot:disk": an environment may have that name.
        status = Status.WARN if self.failure else Status.PASS
        return {"disk:snapshots": HealthCheck(status=status, output=self.failure)}

    def _served(self) -> Served | None:
        """Return what the database has confirmed just now, None while it is away."""
        if not self._follower.is_loaded or self._follower.stale_seconds:
            return None
        return self._follower.loaded(), self._tokens.usable

    def _keep(self, served: Served | None) -> None:
        if served is None or self._disk is None or not self._disk.claim():
            return
        # Snapshots are compared by identity, which a change never keeps.
        with self._keeping:
            if served == self._written and self._disk.confirm():
                return
            self._disk.write(_state(*served))
            if self._written is not None and self._written[0].keys() - served[0].keys():
                # A start in need must not serve an environment that was deleted.
                self._disk.remove_older()
            self._written = served

    async def serve_last_known(self) -> bool:
        """Serve what is on disk, unless the database was quicker; tell whether it is served."""
        if self._disk is None or self._follower.is_loaded:
            return False
        found = await in_thread("read snapshot", self._disk.read)
        if found is None:
            return False
        snapshots = await in_thread("compile", lambda: _built(found.state))
        return self._adopt(snapshots, found)

    def _adopt(self, snapshots: Mapping[str, Snapshot], found: SavedState) -> bool:
        """Serve these unless the database has said better in the meantime."""
        if self._follower.is_loaded:
            return False
        if not self._tokens.is_loaded:
            self._tokens.use(found.state.tokens)
        self._follower.adopt(snapshots, confirmed_at=time.monotonic() - found.age_seconds)
        log.warning("serving_last_known", file=found.file, age_seconds=round(found.age_seconds))
        return True


def _built(state: State) -> dict[str, Snapshot]:
    saved = state.environments
    return {each.environment.name: build(each.environment, each.entries) for each in saved}


def _state(snapshots: Mapping[str, Snapshot], tokens: Mapping[str, Token]) -> State:
    return State(
        environments=[
            SavedEnvironment(
                environment=snapshot.environment,
                entries=[entry.configuration for entry in snapshot.entries.values()],
            )
            for snapshot in snapshots.values()
        ],
        tokens=list(tokens.values()),
    )
