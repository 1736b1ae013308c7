"""Reading snapshots from the database: whole, or what has changed since one.

What takes long to compile is compiled in a thread, so that whoever is served from the snapshots of
before does not wait for the next.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from app import memory as collector
from app.configuration.snapshots.change_event import ChangeEvent, EventData
from app.configuration.snapshots.snapshot import RECENT_MAX, Configuration, Snapshot, build
from app.database import Connection, sql
from app.environments import service as environments
from app.environments.models import Environment
from app.threads import in_thread

# A listener that is further behind reads the whole state quicker.
EVENTS_MAX = 1_000
_PAGE_ENTRIES = 500
_QUICK_ENTRIES = 10

# A key that was touched, and what is there now.
Touched = tuple[str, Configuration | None]


async def read(
    connection: Connection, environment: str, known: Snapshot | None
) -> tuple[Snapshot, Sequence[ChangeEvent]]:
    """Return the snapshot of this moment, and the events since the known one where it goes on.

    Raises NotFound for an environment that has gone.
    """
    # One moment for the environment's row and its entries.
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        head = await environments.get(connection, environment)
        if known is None or known.epoch != head.epoch:
            return await _whole(connection, head), ()
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
        rows.clear()  # to free them in the thread
        return known.advanced(head, touched, events)

    return advance() if _is_quick(known, head, rows) else await _aside(advance), events


async def was_swapped(connection: Connection, known: Snapshot, head: Environment) -> bool:
    """Tell whether the epoch now has another history: a backup was restored without a word, and
    perhaps as many revisions have been made since as were lost.
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
    """Return the events after a revision up to the head, or none when they are too many."""
    rows = sql.list_events(
        connection,
        environment=head.name,
        after_revision=after,
        up_to_revision=head.revision,
        page_size=EVENTS_MAX,
    )
    events = [
        ChangeEvent(head.epoch, EventData(environment=head.name, **row)) async for row in rows
    ]
    return events if len(events) == head.revision - after else ()


async def _whole(connection: Connection, head: Environment) -> Snapshot:
    """Read every entry, a page at a time.

    Decoded all at once they would leave the process three times as large as what it keeps.
    """
    snapshot = build(head, [])
    after = ""
    while True:
        rows = sql.list_all_entries(
            connection, environment=head.name, after_key=after, page_size=_PAGE_ENTRIES
        )
        page = [(row["key"], Configuration(environment=head.name, **row)) async for row in rows]
        snapshot = await _aside(partial(snapshot.advanced, head, page))
        if len(page) < _PAGE_ENTRIES:
            break
        after = page[-1][0]
    # Those who come back after a start are a little behind, all of them at once.
    since = max(head.first_revision - 1, head.revision - RECENT_MAX)
    return snapshot.advanced(head, (), await complete_events(connection, head, since))


async def _aside(advance: Callable[[], Snapshot]) -> Snapshot:
    """Make a snapshot in a thread, and freeze it: it is some 400,000 objects for 10,000 flags."""
    return await in_thread("compile", lambda: collector.frozen(advance))


def _is_quick(known: Snapshot, head: Environment, rows: Sequence[Any]) -> bool:
    """Tell whether few flags are compiled: one segment may be in all of them, and so is what the
    environment says of itself.
    """
    if not known.rules.has_settings(head.fractional, head.metadata):
        return False
    segments = known.rules.segments
    return len(rows) <= _QUICK_ENTRIES and not any(
        row["key"] in segments or row["kind"] == "segment" for row in rows
    )
