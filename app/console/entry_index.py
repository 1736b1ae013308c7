"""The entries of an environment as rows of a list: by prefix, or by a search.

The index of a snapshot is built once. Values stay encoded: their short forms are texts.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from weakref import WeakKeyDictionary

import msgspec

from app.configuration.snapshots.snapshot import Snapshot
from app.threads import in_thread

SHORT_MAX = 80
PAGE_ROWS = 100
# More entries are decoded in a thread.
_QUICK_ENTRIES = 1_000


class _Decoded(msgspec.Struct, frozen=True, gc=False):
    key: str
    kind: str
    value: msgspec.Raw
    description: str | None
    version: int
    updated_revision: int
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class EntryRow:
    """An entry in a list. `short` is the beginning of its value as JSON; empty for a secret."""

    key: str
    kind: str
    short: str
    description: str
    version: int
    updated_revision: int
    updated_at: datetime
    search_text: str


@dataclass(frozen=True, slots=True)
class Folder:
    """The entries whose keys begin with `prefix`, which ends in a slash."""

    prefix: str
    name: str
    count: int


@dataclass(frozen=True, kw_only=True)
class Level:
    """One level of the tree: its folders, and a page of the entries directly in it.

    `next` is the last key of a page that is not the last. `count` has the entries of all levels.
    """

    folders: Sequence[Folder]
    rows: Sequence[EntryRow]
    next: str | None
    count: int


class EntryIndex:
    """The rows of some kinds of entries, in the order of keys."""

    def __init__(self, rows: Sequence[EntryRow]) -> None:
        self.rows = rows
        self.keys = [row.key for row in rows]

    def level(self, prefix: str, after: str = "", limit: int = PAGE_ROWS) -> Level:
        """Return the level of a prefix. Only the first page has folders."""
        start = bisect_left(self.keys, prefix)
        counts: dict[str, int] = {}
        rows: list[EntryRow] = []
        count = 0
        for row in islice(self.rows, start, None):
            if not row.key.startswith(prefix):
                break
            count += 1
            name, slash, _ = row.key[len(prefix) :].partition("/")
            if slash:
                counts[name] = counts.get(name, 0) + 1
            elif row.key > after:
                rows.append(row)
        folders = [Folder(f"{prefix}{name}/", name, number) for name, number in counts.items()]
        return Level(
            folders=[] if after else folders,
            rows=rows[:limit],
            next=rows[limit - 1].key if len(rows) > limit else None,
            count=count,
        )

    def search(self, text: str, prefix: str, after: str = "", limit: int = PAGE_ROWS) -> Level:
        """Return the entries below a prefix whose key or description has every word."""
        found = list(self._below(prefix))
        for word in text.lower().split():
            found = [row for row in found if word in row.search_text]
        rest = found[bisect_right(found, after, key=lambda row: row.key) :] if after else found
        return Level(
            folders=[],
            rows=rest[:limit],
            next=rest[limit - 1].key if len(rest) > limit else None,
            count=len(found),
        )

    def _below(self, prefix: str) -> Iterator[EntryRow]:
        for row in islice(self.rows, bisect_left(self.keys, prefix), None):
            if not row.key.startswith(prefix):
                return
            yield row


_indexes: WeakKeyDictionary[Snapshot, dict[frozenset[str], EntryIndex]] = WeakKeyDictionary()


async def entry_index(snapshot: Snapshot, kinds: Collection[str]) -> EntryIndex:
    """Return the index of some kinds of entries in a snapshot."""
    indexes = _indexes.setdefault(snapshot, {})
    name = frozenset(kinds)
    if name not in indexes:
        if len(snapshot.keys) <= _QUICK_ENTRIES:
            indexes[name] = _build(snapshot, name)
        else:
            indexes[name] = await in_thread("entry-index", lambda: _build(snapshot, name))
    return indexes[name]


def _build(snapshot: Snapshot, kinds: Collection[str]) -> EntryIndex:
    decode = msgspec.json.Decoder(_Decoded).decode
    entries = (snapshot.entries[key] for key in snapshot.keys)
    return EntryIndex([_row(decode(entry.body)) for entry in entries if entry.kind in kinds])


def _row(entry: _Decoded) -> EntryRow:
    description = entry.description or ""
    return EntryRow(
        key=entry.key,
        kind=entry.kind,
        short="" if entry.kind == "secret" else _short(bytes(entry.value)),
        description=description,
        version=entry.version,
        updated_revision=entry.updated_revision,
        updated_at=entry.updated_at,
        search_text=f"{entry.key}\n{description}".lower(),
    )


def _short(raw: bytes) -> str:
    # A character of UTF-8 has at most four bytes.
    text = raw[: SHORT_MAX * 4].decode(errors="ignore")
    return text if len(text) <= SHORT_MAX else text[: SHORT_MAX - 1] + "…"
