"""Read snapshots from the database: completely, or the changes since a known one.

Large changes are compiled in a thread, so that requests do not wait for them.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from app import memory
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

# A changed key and its current entry, or None if it was deleted.
Touched = tuple[str, Configuration | None]


async def read(
    connection: Connection, environment: str, known: Snapshot | None
) -> tuple[Snapshot, Sequence[ChangeEvent]]:
    """Return the snapshot, and the events since the known one of its epoch. Raises NotFound."""
    # The environment and its entries must be read from one database snapshot.
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        head = await environments.get(connection, environment)
        if known is None or known.epoch != head.epoch:
            return await _read_all(connection, head), ()
        rows: list[Any] = [
            row
            async for row in sql.list_changed_entries(
                connection, environment=environment, after_revision=known.revision
            )
        ]
        events = await complete_events(connection, head, known.revision)

    def advance() -> Snapshot:
        touched: list[Touched] = [
            (row["key"], Configuration(environment=environment, **row) if row["version"] else None)
            for row in rows
        ]
        rows.clear()  # Free them in the thread.
        return known.advanced(head, touched, events)

    return advance() if _is_quick(known, head, rows) else await _in_thread(advance), events


async def was_swapped(connection: Connection, known: Snapshot, head: Environment) -> bool:
    """Return whether the history differs from that of the known snapshot, in the same epoch.

    It differs if a backup was restored without a new epoch. The revision can be as high as before.
    """
    if known.epoch != head.epoch or known.revision == 0:
        return False
    return not await sql.has_change_set(
        connection,
        environment=head.name,
        revision=known.revision,
        hash=known.environment.hash,
    )


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
        ChangeEvent(head.epoch, ChangeEventData(environment=head.name, **row)) async for row in rows
    ]
    return events if len(events) == head.revision - after else ()


async def _read_all(connection: Connection, head: Environment) -> Snapshot:
    """Read all entries in pages: decoding all at once would triple the memory of the process."""
    snapshot = build(head, [])
    after = ""
    while True:
        rows = sql.list_all_entries(
            connection, environment=head.name, after_key=after, page_size=_PAGE_ENTRIES
        )
        page = [(row["key"], Configuration(environment=head.name, **row)) async for row in rows]
        snapshot = await _in_thread(partial(snapshot.advanced, head, page))
        if len(page) < _PAGE_ENTRIES:
            break
        after = page[-1][0]
    # After a start all clients reconnect at once, and most miss only a few events.
    since = max(head.first_revision - 1, head.revision - RECENT_MAX)
    return snapshot.advanced(head, (), await complete_events(connection, head, since))


async def _in_thread(advance: Callable[[], Snapshot]) -> Snapshot:
    """Make a snapshot in a thread and freeze it: 10,000 flags are about 400,000 objects."""
    return await in_thread("compile", lambda: memory.frozen(advance))


def _is_quick(known: Snapshot, head: Environment, rows: Sequence[Any]) -> bool:
    """Return whether few flags must be compiled.

    A changed segment, or changed properties of the environment, can affect all flags.
    """
    if not known.rules.has_settings(head.fractional, head.metadata):
        return False
    segments = known.rules.segments
    return len(rows) <= _QUICK_ENTRIES and not any(
        row["key"] in segments or row["kind"] == "segment" for row in rows
    )
