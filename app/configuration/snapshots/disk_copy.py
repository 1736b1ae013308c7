"""The last known state on disk: written after each change, and served when the database is away."""

import asyncio
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress

import msgspec

from app import memory
from app.access.credentials import Credentials
from app.access.models import Token
from app.components import Component, HealthCheck, ReportScope, Status
from app.configuration.snapshots.disk import Disk, SavedState, State
from app.configuration.snapshots.snapshot import Snapshot, build
from app.configuration.snapshots.source import SnapshotSource
from app.errors import reason
from app.log import logger
from app.tasks import wait_at_most
from app.threads import in_thread

log = logger(__name__)

# Encrypting a portion takes about 0.1 ms, during which the event loop waits for the interpreter.
_PORTION_BYTES = 64 * 1024
_PAGE_ENTRIES = 500

Served = tuple[Mapping[str, Snapshot], Mapping[str, Token]]

# Changes often follow one another, so several are written at once.
_BATCH_SECONDS = 1.0
# Also without a change of a snapshot: tokens may have changed, and the file must not look old.
_CONFIRM_SECONDS = 3.0


class DiskCopy(Component):
    """Writes the state in memory to disk, and serves the state on disk after a start."""

    name = "keeper"

    def __init__(self, follower: SnapshotSource, tokens: Credentials, disk: Disk | None) -> None:
        self._disk = disk
        self._follower = follower
        self._tokens = tokens
        self._written: Served | None = None
        # At the end of the process the event loop writes, while a thread may still be writing.
        self._writing = threading.Lock()
        self.failure: str | None = None

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
            await in_thread("write snapshot", lambda: self._write(served))
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
        if not self._follower.is_loaded or self._follower.stale_seconds:
            return None
        return self._follower.loaded(), self._tokens.usable

    def _write(self, served: Served | None) -> None:
        if served is None or self._disk is None or not self._disk.acquire():
            return
        # Snapshots are compared by identity: each change makes a new one.
        with self._writing:
            if served == self._written and self._disk.confirm():
                return
            self._disk.write(encoded(*served, self._tokens.saved_key))
            if self._written is not None and self._written[0].keys() - served[0].keys():
                # A later start must not serve a deleted environment.
                self._disk.remove_older()
            self._written = served

    async def serve_last_known(self) -> bool:
        """Serve the state on disk if no refresh has succeeded yet. Return whether it is served."""
        if self._disk is None:
            return False
        # The first refresh waits for these snapshots, and reads what has changed since.
        async with self._follower.refreshing:
            if self._follower.is_loaded:
                return False
            saved = await in_thread("read snapshot", self._disk.read)
            if saved is None:
                return False
            snapshots = await in_thread(
                "compile", lambda: memory.frozen(lambda: _built(saved.state))
            )
            return self._adopt(snapshots, saved)

    def _adopt(self, snapshots: Mapping[str, Snapshot], saved: SavedState) -> bool:
        """Serve the saved state unless a refresh has succeeded in the meantime."""
        if self._follower.is_loaded:
            return False
        if not self._tokens.is_loaded:
            self._tokens.restore(saved.state.tokens, saved.state.relay_key)
        self._follower.adopt(snapshots, confirmed_at=time.monotonic() - saved.age_seconds)
        log.warning("serving_last_known", file=saved.file, age_seconds=round(saved.age_seconds))
        return True


def _built(state: State) -> dict[str, Snapshot]:
    """Return the snapshots, and empty the lists of entries on the way.

    The compiled flags reuse the memory of the entries, which is several times that of a snapshot.
    """
    snapshots: dict[str, Snapshot] = {}
    for saved in state.environments:
        snapshot, entries = build(saved.environment, []), saved.entries
        while entries:
            page = [(entry.key, entry) for entry in entries[-_PAGE_ENTRIES:]]
            del entries[-_PAGE_ENTRIES:]
            snapshot = snapshot.advanced(saved.environment, page)
        snapshots[saved.environment.name] = snapshot
    return snapshots


def encoded(
    snapshots: Mapping[str, Snapshot], tokens: Mapping[str, Token], relay_key: str | None = None
) -> Iterator[bytes]:
    """Yield the JSON of a `State` in portions. Entries are the bytes that the snapshots have."""
    yield b'{"environments":['
    for number, snapshot in enumerate(snapshots.values()):
        comma = b"," if number else b""
        head = msgspec.json.encode(snapshot.environment)
        yield b'%b{"environment":%b,"entries":[' % (comma, head)
        yield from _joined(entry.body for entry in snapshot.entries.values())
        yield b"]}"
    rest = (msgspec.json.encode(list(tokens.values())), msgspec.json.encode(relay_key))
    yield b'],"tokens":%b,"relay_key":%b}' % rest


def _joined(bodies: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the bodies, separated by commas, in portions of at least `_PORTION_BYTES`."""
    portion: list[bytes] = []
    size, separator = 0, b""
    for body in bodies:
        portion.append(body)
        size += len(body)
        if size >= _PORTION_BYTES:
            yield separator + b",".join(portion)
            portion, size, separator = [], 0, b","
    if portion:
        yield separator + b",".join(portion)
