"""The last known state on disk: written after each change, and served when the database is away.

It has all environments, also those that are not in memory. Their entries are copied from the
database, without compiling them.
"""

import asyncio
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial

import msgspec

from app import memory
from app.access.credentials import Credentials
from app.components import Component, HealthCheck, ReportScope, Status
from app.configuration.snapshots.disk import Disk, SavedEnvironment, SavedState
from app.configuration.snapshots.disk_writer import DiskWriter, Served
from app.configuration.snapshots.snapshot import Configuration, Snapshot, build
from app.configuration.snapshots.source import SavedSnapshot, SnapshotSource
from app.crypto.box import BoxError
from app.environments.models import Environment
from app.errors import AppError, reason
from app.evaluation.lists import HashedList, list_reference, loaded_list, register
from app.log import logger
from app.tasks import wait_at_most
from app.threads import in_thread

log = logger(__name__)

_PAGE_ENTRIES = 500
# Changes often follow one another, so several are written at once.
_BATCH_SECONDS = 1.0
# Also without a change of a snapshot: tokens may have changed, and the file must not look old.
_CONFIRM_SECONDS = 3.0
# An environment that is not in memory is copied at most this often, and at most so many in a round.
_COPY_SECONDS = 60.0
_COPIES_AT_ONCE = 10


class DiskCopy(Component):
    """Writes the state in memory to disk, and serves the state on disk after a start."""

    name = "keeper"

    def __init__(self, follower: SnapshotSource, tokens: Credentials, disk: Disk | None) -> None:
        self._disk = disk
        self._follower = follower
        self._tokens = tokens
        self._writer = DiskWriter(disk) if disk is not None else None
        self._written: Served | None = None
        # At the end of the process the event loop writes, while a thread may still be writing.
        self._writing = threading.Lock()
        # When the environments that are not in memory were last copied.
        self._copied_at: dict[str, float] = {}
        self.failure: str | None = None
        if disk is not None:
            follower.read_saved = self.read_saved

    async def run(self) -> None:
        if self._disk is None:
            return
        try:
            while True:
                next_change = self._follower.next_change
                await self.run_once()
                await wait_at_most(_CONFIRM_SECONDS, next_change)
                await asyncio.sleep(_BATCH_SECONDS)
        finally:
            with suppress(OSError):
                self._write(self._served())
            self._disk.release()

    async def run_once(self) -> None:
        """Write the state in memory, unless the file has it. Never raises for the disk."""
        served = self._served()
        try:
            if await in_thread("write snapshot", lambda: self._write(served)):
                await self._copy_absent(served)
        except OSError as error:
            failure = reason(error)
            if failure != self.failure:
                log.warning("snapshot_not_written", reason=failure)
            self.failure = failure
        else:
            self.failure = None

    def checks(self, _: ReportScope) -> Mapping[str, HealthCheck]:
        # The name is not "snapshot:disk", since an environment may be called disk.
        status = Status.WARN if self.failure else Status.PASS
        return {"disk:snapshots": HealthCheck(status=status, output=self.failure)}

    def _served(self) -> Served | None:
        """Return the state that the database has confirmed, or None while it is away."""
        follower = self._follower
        if not follower.is_loaded or follower.stale_seconds:
            return None
        heads = follower.environments()
        return Served(
            heads={name: heads[name] for name in follower.uses.by_recent_use(heads)},
            snapshots=follower.confirmed(),
            tokens=self._tokens.usable,
            relay_key=self._tokens.saved_key,
        )

    def _write(self, served: Served | None) -> bool:
        """Write a generation unless the last one is equal. Return whether this process writes."""
        if served is None or self._disk is None or self._writer is None:
            return False
        if not self._disk.acquire():
            return False
        # Snapshots are compared by identity: each change makes a new one.
        with self._writing:
            if served != self._written or not self._disk.confirm():
                self._writer.write(served)
                self._written = served
        return True

    async def _copy_absent(self, served: Served | None) -> None:
        """Copy environments that are not in memory and have changed. Raises OSError."""
        writer = self._writer
        if served is None or writer is None:
            return
        now = time.monotonic()
        names = [
            name
            for name in writer.missing(served)
            if now - self._copied_at.get(name, -_COPY_SECONDS) >= _COPY_SECONDS
        ]
        self._copied_at = {n: at for n, at in self._copied_at.items() if n in served.heads}
        for name in names[:_COPIES_AT_ONCE]:
            self._copied_at[name] = now
            try:
                environment, lines = await self._follower.read_lines(name)
            except AppError:
                continue
            work = partial(self._write_lines, writer, environment, lines)
            await in_thread("write snapshot", work)

    def _write_lines(
        self, writer: DiskWriter, environment: Environment, lines: Sequence[bytes]
    ) -> None:
        with self._writing:
            writer.write_lines(environment, lines)
            self._written = None

    async def read_saved(self, environment: str) -> SavedSnapshot | None:
        """Return the last known snapshot of an environment, or None."""
        disk = self._disk
        if disk is None:
            return None
        saved = await in_thread("read snapshot", lambda: disk.read_environment(environment))
        if saved is None:
            return None
        of_one = saved.state.environments[0]
        snapshot = await in_thread("compile", lambda: memory.frozen(lambda: _built(disk, of_one)))
        return SavedSnapshot(
            snapshot=snapshot,
            confirmed_at=time.monotonic() - saved.age_seconds,
            is_behind=of_one.behind_since is not None,
        )

    async def serve_last_known(self) -> bool:
        """Serve the state on disk if no refresh has succeeded yet. Return whether it is served."""
        disk = self._disk
        if disk is None:
            return False
        # The first refresh waits for these snapshots, and reads what has changed since.
        async with self._follower.refreshing:
            if self._follower.is_loaded:
                return False
            saved = await in_thread("read snapshot", disk.read)
            if saved is None:
                return False
            snapshots = await in_thread(
                "compile", lambda: memory.frozen(lambda: self._all_built(disk, saved))
            )
            return self._adopt(snapshots, saved)

    def _all_built(self, disk: Disk, saved: SavedState) -> dict[str, Snapshot]:
        """Return the snapshots that stay in memory when idle. Those used last come first."""
        snapshots: dict[str, Snapshot] = {}
        free = self._follower.uses.warm_entries
        for of_one in saved.state.environments:
            if of_one.base is None:
                continue
            try:
                complete = disk.complete(of_one)
            except (OSError, BoxError, msgspec.MsgspecError):
                # It is loaded from an older generation when it is asked for.
                continue
            free -= len(complete.entries)
            if free < 0:
                break
            snapshots[of_one.environment.name] = _built(disk, complete)
        return snapshots

    def _adopt(self, snapshots: Mapping[str, Snapshot], saved: SavedState) -> bool:
        """Serve the saved state unless a refresh has succeeded in the meantime."""
        if self._follower.is_loaded:
            return False
        if not self._tokens.is_loaded:
            self._tokens.restore(saved.state.tokens, saved.state.relay_key)
        environments, now = saved.state.environments, time.time()
        self._follower.adopt(
            snapshots,
            [of_one.environment for of_one in environments],
            confirmed_at=time.monotonic() - saved.age_seconds,
            saved_at={
                of_one.environment.name: time.monotonic() - (now - of_one.behind_since)
                for of_one in environments
                if of_one.behind_since is not None and of_one.environment.name in snapshots
            },
        )
        log.warning("serving_last_known", file=saved.file, age_seconds=round(saved.age_seconds))
        return True


def _built(disk: Disk, saved: SavedEnvironment) -> Snapshot:
    """Return the snapshot, and empty the list of entries on the way.

    The compiled flags reuse the memory of the entries, which is several times that of a snapshot.
    """
    snapshot, entries = build(saved.environment, []), saved.entries
    while entries:
        page = [(entry.key, entry) for entry in entries[-_PAGE_ENTRIES:]]
        del entries[-_PAGE_ENTRIES:]
        # Held until the rules of the snapshot hold them.
        lists = [list_ for _, entry in page if (list_ := _list_of(disk, entry)) is not None]
        snapshot = snapshot.advanced(saved.environment, page)
        lists.clear()
    return snapshot


def _list_of(disk: Disk, entry: Configuration) -> HashedList | None:
    """Return the list that a segment names, from memory or from the disk."""
    reference = list_reference(entry.value) if entry.kind == "segment" else None
    if reference is None:
        return None
    loaded = loaded_list(reference.digest)
    if loaded is not None:
        return loaded
    saved = disk.read_list(reference)
    return register(saved) if saved is not None else None
