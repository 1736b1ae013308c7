"""The stored states of a list, as a transaction changes them.

The row of a store is locked before the environment. So the rows of many values are written without
the lock that all writers of the environment need.
"""

from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, replace

from app.configuration.list_data.digest import Element, ListSum, sum_of
from app.configuration.list_data.ranges import hash_ranges
from app.configuration.lists.staging import BATCH, Staged, check_count
from app.database import Connection, sql
from app.errors import Unavailable
from app.evaluation.lists import ListReference, value_hash
from app.threads import in_thread

# The lowest hash and the empty value come before every row.
_BEFORE_ALL = (-(2**63), "")
_EXPIRED_AT_ONCE = 10_000


@dataclass(frozen=True, kw_only=True)
class StoredList:
    """A state of a list. `is_head`: it is the latest state of its store."""

    store: int
    sequence: int
    salt: bytes
    total: ListSum
    is_head: bool


@dataclass(kw_only=True)
class Counts:
    added: int = 0
    removed: int = 0
    expired: int = 0


async def lock_state(connection: Connection, reference: ListReference) -> StoredList:
    """Lock the store of a list, and return its state. Raises Unavailable for damaged data."""
    row = await sql.lock_list_state(connection, digest=bytes.fromhex(reference.digest))
    if row is None:
        raise Unavailable("list_missing", "The database does not have the values of the list.")
    return StoredList(
        store=row["store"],
        sequence=row["sequence"],
        salt=row["salt"],
        total=sum_of(row["count"], row["sum"]),
        is_head=row["sequence"] == row["head"],
    )


async def record(
    connection: Connection,
    store: int,
    sequence: int,
    total: ListSum,
    staged_by: str | None = None,
) -> None:
    """Record a state of a store. `staged_by` may name it before an entry does."""
    await sql.insert_list_state(
        connection,
        store=store,
        sequence=sequence,
        digest=total.digest,
        count=total.count,
        sum=total.raw,
        staged_by=staged_by,
    )


async def branch(connection: Connection, state: StoredList) -> StoredList:
    """Copy a state that others have changed already to a store of its own."""
    store = await sql.create_list_store(connection, salt=state.salt)
    for first, last in hash_ranges(state.total.count):
        await sql.copy_list_values(
            connection,
            source=state.store,
            sequence=state.sequence,
            target=store,
            first=first,
            last=last,
        )
    await record(connection, store, 0, state.total)
    return replace(state, store=store, sequence=0, is_head=True)


class NextState:
    """The next state of a list, while it is written."""

    def __init__(self, connection: Connection, state: StoredList) -> None:
        self._connection = connection
        self._state = state
        self._sequence = state.sequence + 1
        self.total = state.total
        self.counts = Counts()

    async def add(self, elements: Sequence[Element]) -> None:
        """Add values. One that the list has gets the new expiry."""
        columns = await self._columns(elements)
        expiries = [expiry for _, expiry in elements]
        rows = sql.remove_changed_list_values(self._connection, **columns, expiries=expiries)
        removed = [(row["value"], row["expiry"]) async for row in rows]
        rows = sql.add_list_values(self._connection, **columns, expiries=expiries)
        added = [(row["value"], row["expiry"]) async for row in rows]
        self.counts.added += len(added)
        self.counts.removed += len(removed)
        await self._count(added, removed)

    async def remove(self, values: Sequence[str]) -> None:
        """Remove values; those that the list does not have are ignored."""
        columns = await self._columns([(value, None) for value in values])
        rows = sql.remove_list_values(self._connection, **columns)
        removed = [(row["value"], row["expiry"]) async for row in rows]
        self.counts.removed += len(removed)
        await self._count((), removed)

    async def remove_expired(self, before: object) -> None:
        rows = sql.remove_expired_list_values(
            self._connection,
            store=self._state.store,
            sequence=self._sequence,
            before=before,
            page_size=_EXPIRED_AT_ONCE,
        )
        removed = [(row["value"], row["expiry"]) async for row in rows]
        self.counts.expired += len(removed)
        await self._count((), removed)

    @property
    def is_changed(self) -> bool:
        counts = self.counts
        return bool(counts.added or counts.removed or counts.expired)

    async def store(self, staged_by: str | None) -> None:
        """Record the state. Raises Invalid above the limit."""
        check_count(self.total.count)
        await record(self._connection, self._state.store, self._sequence, self.total, staged_by)

    async def _columns(self, elements: Sequence[Element]) -> dict[str, object]:
        salt = self._state.salt
        hashes = await in_thread(
            "hash list", lambda: [value_hash(salt, value) for value, _ in elements]
        )
        return {
            "store": self._state.store,
            "sequence": self._sequence,
            "hashes": hashes,
            "values": [value for value, _ in elements],
        }

    async def _count(self, added: Iterable[Element], removed: Iterable[Element]) -> None:
        before = self.total
        self.total = await in_thread("sum list", lambda: before.changed(added, removed))


async def staged_pages(connection: Connection, staged: Staged) -> AsyncIterator[list[Element]]:
    """Yield the values of a staged store in pages."""
    after_hash, after_value = _BEFORE_ALL
    while True:
        rows = sql.list_list_values(
            connection,
            store=staged.store,
            sequence=0,
            after_hash=after_hash,
            after_value=after_value,
            page_size=BATCH,
        )
        page = [row async for row in rows]
        if page:
            yield [(row["value"], row["expiry"]) for row in page]
            after_hash, after_value = page[-1]["hash"], page[-1]["value"]
        if len(page) < BATCH:
            return


async def count_differences(connection: Connection, state: StoredList, staged: Staged) -> Counts:
    """Return how many values a staged store adds to a list and removes from it."""
    counts = Counts()
    for first, last in hash_ranges(max(state.total.count, staged.total.count)):
        row = await sql.count_list_differences(
            connection,
            store=state.store,
            sequence=state.sequence,
            staged=staged.store,
            first=first,
            last=last,
        )
        counts.added += row["added"]
        counts.removed += row["removed"]
    return counts


async def absent_pages(
    connection: Connection, state: StoredList, staged: Staged
) -> AsyncIterator[list[str]]:
    """Yield the values of a list that a staged store does not have."""
    for first, last in hash_ranges(state.total.count):
        rows = sql.list_absent_list_values(
            connection, store=state.store, staged=staged.store, first=first, last=last
        )
        values = [row["value"] async for row in rows]
        if values:
            yield values
