"""The parts of a snapshot that callers with limited rights see.

A part has the own entries alone, so every list, page, count and digest of it is right without a
check of its own. Its flags are evaluated by the rules of the whole snapshot. The parts share
entries and compiled flags with the snapshot.
"""

import time
from typing import TYPE_CHECKING

from app.access.permissions import Keys

if TYPE_CHECKING:
    from collections.abc import Iterator

    from app.configuration.snapshots.snapshot import Snapshot

# The limits of the parts that one snapshot stores.
PARTS_MAX = 64
ENTRIES_MAX = 20_000
# The next snapshot gets the parts that were used in this time.
USED_SECONDS = 60.0


class Parts:
    """The parts of one snapshot that were used last, with the time of their last use."""

    def __init__(self) -> None:
        # By the prefixes of their keys. The hash of a tuple takes less time than that of `Keys`.
        self._parts: dict[tuple[str, ...], tuple[Snapshot, float]] = {}
        self._entries = 0

    def get(self, keys: Keys) -> "Snapshot | None":
        known = self._parts.pop(keys.prefixes, None)
        if known is None:
            return None
        part, _ = known
        self._parts[keys.prefixes] = part, time.monotonic()
        return part

    def store(self, part: "Snapshot", used_at: float) -> None:
        """Store a part. Drop those that were used first, beyond the limits."""
        self._parts[part.limits.prefixes] = part, used_at
        self._entries += len(part.entries)
        while len(self._parts) > 1 and (
            len(self._parts) > PARTS_MAX or self._entries > ENTRIES_MAX
        ):
            oldest, _ = self._parts.pop(next(iter(self._parts)))
            self._entries -= len(oldest.entries)

    def in_use(self) -> "Iterator[tuple[Snapshot, float]]":
        """Yield the parts that were used lately, with the time. Another thread may store more."""
        since = time.monotonic() - USED_SECONDS
        for part, used_at in list(self._parts.values()):
            if used_at >= since:
                yield part, used_at
