"""Summaries of all flags of an environment, brought up to date when a list of them is read.

A summary is computed once for each version of a flag: entries and compiled flags of snapshots are
immutable objects that later snapshots share, so an unchanged flag is recognised by identity.
"""

import asyncio
import math
import time
import weakref
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, partial

from app.access.permissions import Keys
from app.configuration.changes.flag_checks import broken_guards
from app.configuration.snapshots.snapshot import EncodedEntry, Snapshot
from app.errors import Invalid
from app.evaluation.engine import Flag
from app.evaluation.ruleset import decode_definition
from app.flags.summary import FlagSummary, summary_of
from app.threads import in_thread

# Guards of flags that use the time are checked again after this time.
_GUARD_SECONDS = 60
_GUARDS = b'"guards"'
# At most about 3 ms on the event loop. More flags are summarised in a thread.
_QUICK_FLAGS = 50
# Indexes of parts. Each takes about 1 KB for each flag.
_PARTS_MAX = 16

# An environment, and the keys that a caller sees of it.
_Name = tuple[str, Keys]


@dataclass(frozen=True, slots=True)
class _Known:
    """A summary, and the objects of the snapshot that it was computed from.

    `is_timed`: a guard may begin to fail without a change, because the rules use the time.
    `valid_until`: the Unix time at which a plan changes the flag.
    """

    entry: EncodedEntry
    flag: Flag | None
    summary: FlagSummary
    is_timed: bool
    valid_until: float = math.inf

    def is_of(self, entry: EncodedEntry, flag: Flag | None, *, now: float, is_recent: bool) -> bool:
        """Return whether the summary is still true for these objects."""
        is_same = self.entry is entry and self.flag is flag
        return is_same and now < self.valid_until and (is_recent or not self.is_timed)


@dataclass(frozen=True, eq=False)
class FlagIndex:
    """The flags of one snapshot in the order of their keys."""

    known: Mapping[str, _Known]
    made_at: float

    @cached_property
    def valid_until(self) -> float:
        """The Unix time at which a plan changes one of the flags."""
        return min((known.valid_until for known in self.known.values()), default=math.inf)

    @cached_property
    def summaries(self) -> list[FlagSummary]:
        return [known.summary for known in self.known.values()]

    @cached_property
    def prefixes(self) -> list[tuple[str, int]]:
        """Each prefix that ends with a slash, and the number of its flags."""
        counts = Counter(prefix for flag in self.summaries for prefix in flag.prefixes)
        return sorted(counts.items())

    def find(self, key: str) -> FlagSummary | None:
        known = self.known.get(key)
        return known.summary if known is not None else None


EMPTY = FlagIndex({}, 0.0)


class FlagIndexes:
    """The latest index of each environment, and of the parts of it that limited callers see."""

    def __init__(self) -> None:
        # The snapshot is referred to weakly: the follower frees old snapshots in a thread.
        self._latest: dict[_Name, tuple[weakref.ref[Snapshot], FlagIndex]] = {}
        self._updating = asyncio.Lock()

    async def get(self, snapshot: Snapshot) -> FlagIndex:
        """Return the index of a current snapshot."""
        async with self._updating:
            name = snapshot.environment.name, snapshot.limits
            known_snapshot, index = self._latest.pop(name, (None, EMPTY))
            is_recent = not snapshot.rules.uses_time or (
                _is_recent(index) and time.time() < index.valid_until
            )
            if known_snapshot is not None and known_snapshot() is snapshot and is_recent:
                self._latest[name] = known_snapshot, index
                return index
            update = partial(index_of, snapshot, index)
            is_quick = _count_changed(snapshot, index) <= _QUICK_FLAGS
            index = update() if is_quick else await in_thread("flag index", update)
            # Several environments may have changed: let others run in between.
            await asyncio.sleep(0)
            self._latest[name] = weakref.ref(snapshot), index
            self._drop_parts()
            return index

    def forget(self, names: frozenset[str]) -> None:
        """Drop the indexes of all environments except these."""
        for name in [name for name in self._latest if name[0] not in names]:
            del self._latest[name]

    def _drop_parts(self) -> None:
        """Drop the indexes of parts that were used first, beyond the limit."""
        parts = [name for name in self._latest if not name[1].is_all]
        for name in parts[:-_PARTS_MAX]:
            del self._latest[name]


def index_of(snapshot: Snapshot, earlier: FlagIndex = EMPTY) -> FlagIndex:
    """Return the index of a snapshot, with the summaries of an earlier one that are still true."""
    now = time.time()
    is_recent = _is_recent(earlier)
    known: dict[str, _Known] = {}
    for key in snapshot.keys:
        entry = snapshot.entries[key]
        if entry.kind != "flag":
            continue
        flag, before = snapshot.rules.flags.get(key), earlier.known.get(key)
        if before is not None and before.is_of(entry, flag, now=now, is_recent=is_recent):
            known[key] = before
            continue
        # Let the event loop have the interpreter at once, not only after 5 ms.
        time.sleep(0)
        broken = _broken_guard(snapshot, key, int(now))
        is_timed = flag is not None and flag.uses_time and _GUARDS in entry.body
        summary = summary_of(entry.configuration, broken)
        changes_at = summary.plan.changes_at if summary.plan is not None else None
        valid_until = math.inf if changes_at is None else changes_at
        known[key] = _Known(entry, flag, summary, is_timed, valid_until)
    return FlagIndex(known, now)


def _is_recent(index: FlagIndex) -> bool:
    return time.time() - index.made_at < _GUARD_SECONDS


def _count_changed(snapshot: Snapshot, index: FlagIndex) -> int:
    is_recent, entries, now = _is_recent(index), snapshot.entries, time.time()
    return sum(
        known is None or not known.is_of(entries[key], flag, now=now, is_recent=is_recent)
        for key, flag in snapshot.rules.flags.items()
        for known in (index.known.get(key),)
    )


def _broken_guard(snapshot: Snapshot, key: str, now: int) -> str:
    """Return why the first broken guard of a flag fails, empty if all hold."""
    raw = snapshot.rules.definitions.get(key, b"")
    if _GUARDS not in raw:
        return ""
    definition = decode_definition(raw)
    if not isinstance(definition, dict) or not definition.get("guards"):
        return ""
    try:
        broken = next(broken_guards([(key, definition)], snapshot.rules.flag_set, now), None)
    except Invalid:
        return "takes too long"
    return broken.rule if broken is not None else ""
