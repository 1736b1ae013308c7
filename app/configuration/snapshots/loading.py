"""Read snapshots from the database: completely, or the changes since a known one.

Large changes are compiled in a thread, so that requests do not wait for them.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any

import msgspec

from app import memory
from app.configuration.list_data.loading import load_lists
from app.configuration.snapshots.change_event import ChangeEvent, ChangeEventData
from app.configuration.snapshots.snapshot import RECENT_MAX, Configuration, Snapshot, build
from app.database import Connection, sql
from app.environments import service as environments
from app.environments.models import Environment
from app.threads import in_thread

# A client that misses more events reads the whole state faster.
EVENTS_MAX = 1_000
_PAGE_ENTRIES = 500
_QUICK_ENTRIES = 10
# To free fewer flags takes at most 1 ms. To freeze them would take a full garbage collection.
_FEW_FLAGS = 250

_ENTRY_COLUMNS = [name for name in Configuration.__struct_fields__ if name != "environment"]

# A changed key and its current entry, or None if it was deleted.
Touched = tuple[str, Configuration | None]


@dataclass(frozen=True, kw_only=True)
class Advance:
    """A later snapshot and the events that lead to it.

    `is_large`: many flags were compiled, so that freeing the earlier snapshot takes long.
    """

    snapshot: Snapshot
    events: Sequence[ChangeEvent] = ()
    is_large: bool = False


async def read(connection: Connection, environment: str) -> Snapshot:
    """Return the whole snapshot. Raises NotFound."""
    # The environment and the pages of its entries must be read from one database snapshot.
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        head = await environments.get(connection, environment)
        return await _read_all(connection, head)


class HistorySwappedError(Exception):
    """A backup was restored without a new epoch. The revision can be as high as before."""


async def read_since(connection: Connection, known: Snapshot) -> Advance:
    """Return what changed since a known snapshot, in one round trip.

    Raises NotFound for a deleted environment or a new epoch, and HistorySwappedError.
    """
    parts: dict[str, list[Any]] = {"environment": [], "change set": [], "entry": []}
    async for row in sql.list_changes_since(
        connection,
        environment=known.environment.name,
        epoch=known.epoch,
        revision=known.revision,
        hash=known.environment.hash,
        events_max=EVENTS_MAX,
    ):
        parts[row["part"]].append(row)
    if not parts["environment"]:
        raise environments.unknown_environment()
    content = parts["environment"][0]["content"]
    if not content["is_continued"]:
        raise HistorySwappedError
    head = msgspec.convert(content, Environment)
    if head == known.environment:
        return Advance(snapshot=known)
    events = [
        ChangeEvent(head.epoch, msgspec.convert(row["content"], ChangeEventData))
        for row in parts["change set"]
    ]
    events.sort(key=lambda event: event.revision)
    if len(events) < head.revision - known.revision:
        events = []
    entries = parts["entry"]

    def touch() -> Sequence[Touched]:
        touched = [_touched(head.name, row) for row in entries]
        entries.clear()  # Free them in the thread.
        return touched

    # Held until the rules of the snapshot hold them.
    lists = await load_lists(connection, [row["value"] for row in entries if _is_segment(row)])
    kinds = [(row["key"], row["kind"]) for row in entries]
    advance = await advanced(known, head, kinds, touch, events)
    del lists
    return advance


async def advanced(
    known: Snapshot,
    head: Environment,
    kinds: Sequence[tuple[str, str | None]],
    touch: Callable[[], Sequence[Touched]],
    events: Sequence[ChangeEvent],
    bodies: Mapping[str, bytes] = MappingProxyType({}),
) -> Advance:
    """Return a later snapshot, which is made in a thread if that takes long.

    `kinds` are the changed keys with their kinds, and `touch` returns them with their entries.
    `bodies` are entries that are encoded already.
    """

    def advance() -> Advance:
        touched = touch()
        make = partial(known.advanced, head, touched, events, bodies)
        is_large = _compiles_many(known, head, touched)
        snapshot = memory.frozen(make) if is_large else make()
        return Advance(snapshot=snapshot, events=events, is_large=is_large)

    return advance() if _is_quick(known, head, kinds) else await in_thread("compile", advance)


def _is_segment(row: Any) -> bool:
    return bool(row["kind"] == "segment")


def _touched(environment: str, row: Any) -> Touched:
    if row["version"] is None:
        return row["key"], None
    columns = {name: row[name] for name in _ENTRY_COLUMNS}
    return row["key"], Configuration(environment=environment, **columns)


async def complete_events(
    connection: Connection, head: Environment, after: int
) -> Sequence[ChangeEvent]:
    """Return the events after a revision up to the head, or none above `EVENTS_MAX`."""
    rows = sql.list_events(
        connection,
        environment=head.name,
        after_revision=after,
        up_to_revision=head.revision,
        page_size=EVENTS_MAX,
    )
    events = [
        ChangeEvent(head.epoch, msgspec.convert({"environment": head.name, **row}, ChangeEventData))
        async for row in rows
    ]
    return events if len(events) == head.revision - after else ()


async def read_lines(connection: Connection, environment: str) -> tuple[Environment, list[bytes]]:
    """Return an environment and the JSON of its entries, without compiling them.

    Raises NotFound.
    """
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        head = await environments.get(connection, environment)
        lines: list[bytes] = []
        async for page in _pages(connection, head):
            lines += [msgspec.json.encode(entry) for _, entry in page]
            await asyncio.sleep(0)
        return head, lines


async def _pages(
    connection: Connection, head: Environment
) -> AsyncIterator[list[tuple[str, Configuration]]]:
    """Yield all entries in pages: decoding all at once would triple the memory of the process."""
    after: str | None = ""
    while after is not None:
        rows = sql.list_all_entries(
            connection, environment=head.name, after_key=after, page_size=_PAGE_ENTRIES
        )
        page = [(row["key"], Configuration(environment=head.name, **row)) async for row in rows]
        after = page[-1][0] if len(page) == _PAGE_ENTRIES else None
        yield page


async def _read_all(connection: Connection, head: Environment) -> Snapshot:
    snapshot = build(head, [])
    async for page in _pages(connection, head):
        # Held until the rules of the snapshot hold them.
        segments = (entry.value for _, entry in page if entry.kind == "segment")
        lists = await load_lists(connection, segments)
        advance = partial(snapshot.advanced, head, page)
        # 10,000 flags are about 400,000 objects.
        snapshot = await in_thread("compile", partial(memory.frozen, advance))
        del lists
    # After a start all clients reconnect at once, and most miss only a few events.
    since = max(head.first_revision - 1, head.revision - RECENT_MAX)
    return snapshot.advanced(head, (), await complete_events(connection, head, since))


def _is_quick(known: Snapshot, head: Environment, kinds: Sequence[tuple[str, str | None]]) -> bool:
    """Return whether few flags must be compiled.

    A changed segment, or changed properties of the environment, can affect all flags.
    """
    if not known.rules.has_settings(head.fractional, head.metadata):
        return False
    segments = known.rules.segments
    return len(kinds) <= _QUICK_ENTRIES and not any(
        key in segments or kind == "segment" for key, kind in kinds
    )


def _compiles_many(known: Snapshot, head: Environment, touched: Sequence[Touched]) -> bool:
    rules = known.rules
    if not rules.has_settings(head.fractional, head.metadata):
        return len(rules.flags) > _FEW_FLAGS
    segments = {
        key
        for key, entry in touched
        if key in rules.segments or (entry is not None and entry.kind == "segment")
    }
    return len(touched) + len(rules.users(segments)) > _FEW_FLAGS
