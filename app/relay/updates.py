"""Turns the updates of an upstream into snapshots, and compares their digests."""

from collections.abc import AsyncIterator, Iterable
from functools import partial
from typing import Any

from app import memory
from app.configuration.snapshots import loading
from app.configuration.snapshots.change_event import ChangeEvent
from app.configuration.snapshots.loading import Advance, Touched
from app.configuration.snapshots.snapshot import Configuration, Snapshot, build
from app.relay import protocol
from app.relay.client import decoded, unfit
from app.relay.lists import LoadLists
from app.relay.protocol import Update, UpdateHead
from app.threads import in_thread

_PAGE_ENTRIES = 500


async def applied(update: Update, known: Snapshot, load: LoadLists) -> Advance | None:
    """Return what a small update makes of a snapshot, None if that does not have its digest."""
    head = update.head
    entries = _decoded_entries(map(bytes, update.entries), head.environment.name)
    advance = await _changes(head, *entries, known, load)
    return advance if advance.snapshot.digest == head.digest else None


async def received(
    lines: AsyncIterator[bytes], name: str, known: Snapshot | None, load: LoadLists
) -> Advance | None:
    """Return what the upstream has, None if the result does not have its digest.

    Raises Unavailable.
    """
    head = decoded(await _next(lines), UpdateHead)
    if head.environment.name != name:
        raise unfit("sent another environment than was asked for")
    if head.after is None or known is None:
        advance = await _whole(head, lines, load)
    elif head.after == known.revision and head.environment.epoch == known.epoch:
        entries = await _entries(lines, head.count, name)
        advance = await _changes(head, *entries, known, load)
    else:
        return None
    if await _next(lines) != protocol.END:
        raise unfit("sent more entries than it said")
    snapshot = advance.snapshot
    if advance.is_large:
        await in_thread("digest", lambda: snapshot.digest)
    return advance if snapshot.digest == head.digest else None


async def _next(lines: AsyncIterator[bytes]) -> bytes:
    """Return the next line. Raises Unavailable at the end."""
    async for line in lines:
        return line
    raise unfit("ended an answer early")


_Entries = tuple[list[Touched], dict[str, bytes]]


async def _entries(lines: AsyncIterator[bytes], count: int, environment: str) -> _Entries:
    return _decoded_entries([await _next(lines) for _ in range(count)], environment)


def _decoded_entries(lines: Iterable[bytes], environment: str) -> _Entries:
    """Return the entries, and their JSON by key: it must not be encoded again."""
    touched: list[Touched] = []
    bodies: dict[str, bytes] = {}
    for line in lines:
        entry = decoded(line, Configuration)
        if entry.environment != environment:
            raise unfit("sent an entry of another environment")
        touched.append((entry.key, entry))
        bodies[entry.key] = line
    return touched, bodies


def _events(head: UpdateHead) -> list[ChangeEvent]:
    return [ChangeEvent(head.environment.epoch, data) for data in head.events]


async def _changes(
    head: UpdateHead,
    touched: list[Touched],
    bodies: dict[str, bytes],
    known: Snapshot,
    load: LoadLists,
) -> Advance:
    # Held until the rules of the snapshot hold them.
    lists = await load(_segments(touched))
    kinds = [(key, entry.kind if entry else None) for key, entry in touched]
    removed: list[Touched] = [(key, None) for key in head.removed]
    kinds += [(key, None) for key in head.removed]
    advance = await loading.advanced(
        known, head.environment, kinds, lambda: touched + removed, _events(head), bodies
    )
    del lists
    return advance


def _segments(touched: Iterable[Touched]) -> list[Any]:
    return [entry.value for _, entry in touched if entry is not None and entry.kind == "segment"]


async def _whole(head: UpdateHead, lines: AsyncIterator[bytes], load: LoadLists) -> Advance:
    """Read all entries in pages: decoding all at once would triple the memory of the process."""
    environment = head.environment
    snapshot = build(environment, [])
    for start in range(0, head.count, _PAGE_ENTRIES):
        count = min(_PAGE_ENTRIES, head.count - start)
        touched, bodies = await _entries(lines, count, environment.name)
        lists = await load(_segments(touched))
        advance = partial(snapshot.advanced, environment, touched, (), bodies)
        snapshot = await in_thread("compile", partial(memory.frozen, advance))
        del lists
    events = _events(head)
    snapshot = snapshot.advanced(environment, (), events)
    return Advance(snapshot=snapshot, events=events, is_large=True)
