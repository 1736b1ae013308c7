"""The parts of a snapshot that callers with limited rights see.

A part has the own entries alone, so every list, page, count and digest of it is right without a
check of its own. Its flags are evaluated by the rules of the whole snapshot. The parts share
entries and compiled flags with the snapshot.
"""

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from app.access.permissions import Keys
from app.environments.models import Environment
from app.threads import in_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from app.configuration.snapshots.snapshot import Snapshot

# The limits of the parts that one snapshot stores. Another one is made when it is asked for, which
# takes 5 µs for each of its entries. An entry takes about 0.5 kB in a part.
PARTS_MAX = 64
ENTRIES_MAX = 20_000
# Of the number of entries of the snapshot. Several large parts must not displace each other.
ENTRIES_SHARE_MAX = 4
# The parts of a snapshot with at most so many entries are made on the event loop.
QUICK_ENTRIES = 500
# The next snapshot gets the parts that were used in this time.
USED_SECONDS = 60.0


def limited_environment(environment: Environment, keys: Keys) -> Environment:
    """Return what a caller of these keys sees. The hash depends on all keys."""
    return environment if keys.is_all else msgspec.structs.replace(environment, hash=None)


@dataclass(slots=True)
class _Stored:
    part: "Snapshot"
    used_at: float


class Parts:
    """The parts of one snapshot that were used last. `size` is the number of its entries."""

    def __init__(self, size: int) -> None:
        self._entries_max = max(ENTRIES_MAX, ENTRIES_SHARE_MAX * size)
        # By the prefixes of their keys. The hash of a tuple takes less time than that of `Keys`.
        self._stored: dict[tuple[str, ...], _Stored] = {}
        self._entries = 0

    def get(self, keys: Keys) -> "Snapshot | None":
        stored = self._stored.get(keys.prefixes)
        if stored is None:
            return None
        stored.used_at = time.monotonic()
        return stored.part

    def store(self, part: "Snapshot", used_at: float) -> None:
        """Store a part. Beyond the limits, drop those whose last use is the longest ago."""
        self._stored[part.limits.prefixes] = _Stored(part, used_at)
        self._entries += len(part.entries)
        while len(self._stored) > 1 and (
            len(self._stored) > PARTS_MAX or self._entries > self._entries_max
        ):
            oldest = min(self._stored.values(), key=lambda stored: stored.used_at).part
            del self._stored[oldest.limits.prefixes]
            self._entries -= len(oldest.entries)

    def in_use(self) -> "Iterator[tuple[Snapshot, float]]":
        """Yield the parts that were used lately, with the time. Another thread may store more."""
        since = time.monotonic() - USED_SECONDS
        for stored in list(self._stored.values()):
            if stored.used_at >= since:
                yield stored.part, stored.used_at


class PartMaker:
    """Makes the large parts of current snapshots in threads.

    Callers that wait for the same part share the work, also when the snapshot changes meanwhile.
    Parts are made one at a time, because the threads share the interpreter with the event loop.
    """

    def __init__(self, current: "Callable[[str], Snapshot | None]") -> None:
        self._current = current
        self._running: dict[tuple[str, Keys], asyncio.Task[None]] = {}
        self._turn = asyncio.Lock()

    async def wait(self, environment: str, keys: Keys) -> None:
        """Wait until the current snapshot has the part."""
        task = self._running.get((environment, keys))
        if task is None:
            task = asyncio.create_task(self._run(environment, keys), name=f"part:{environment}")
            self._running[environment, keys] = task
        # A caller that is cancelled must not cancel the work for the others.
        await asyncio.wait([task])
        task.result()

    def close(self) -> None:
        for task in self._running.values():
            task.cancel()

    async def _run(self, environment: str, keys: Keys) -> None:
        try:
            async with self._turn:
                await self._make(environment, keys)
        finally:
            del self._running[environment, keys]

    async def _make(self, environment: str, keys: Keys) -> None:
        whole = self._current(environment)
        if whole is None or whole.has_part(keys):
            return
        part = await in_thread("part", lambda: whole.make_part(keys))
        # An import may have changed thousands of entries meanwhile.
        later = self._current(environment)
        if later is None or later.epoch != whole.epoch:
            return
        part = await in_thread("part", lambda: later.updated_part(part, whole))
        latest = self._current(environment)
        if latest is None or latest.epoch != later.epoch:
            return
        if not latest.has_part(keys):
            latest.store_part(latest.updated_part(part, later))
