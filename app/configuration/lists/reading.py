"""Read the values of a list: a page, one value, or all of them; now or as of a moment."""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Any

from app.configuration.changes.past import Moment
from app.configuration.entries import service as entries
from app.configuration.lists.models import ListPage, StoredValue
from app.configuration.snapshots.snapshot import Configuration
from app.database import Connection, Database, sql
from app.errors import NotFound, Unavailable
from app.evaluation.lists import ListReference, list_reference, value_hash

_PAGE = 5_000
# The lowest hash and the empty value come before every row.
_LOWEST = -(2**63)


@dataclass(frozen=True, kw_only=True)
class ReadList:
    """A list at a revision: its entry, and where its values are."""

    configuration: Configuration
    reference: ListReference
    revision: int
    epoch: str
    store: int
    sequence: int
    salt: bytes


async def find(
    connection: Connection, environment: str, key: str, moment: Moment | None
) -> ReadList:
    """Return the list of a key. Raises NotFound, also for an entry that is no list."""
    configuration, revision, epoch = await entries.get(connection, environment, key, moment)
    reference = list_reference(configuration.value)
    if configuration.kind != "segment" or reference is None:
        raise NotFound("configuration_unknown", "The entry is no list.")
    row = await sql.find_list_state(connection, digest=bytes.fromhex(reference.digest))
    if row is None:
        raise Unavailable("list_missing", "The database does not have the values of the list.")
    return ReadList(
        configuration=configuration,
        reference=reference,
        revision=revision,
        epoch=epoch,
        store=row["store"],
        sequence=row["sequence"],
        salt=row["salt"],
    )


async def page(connection: Connection, list_: ReadList, *, after: str, limit: int) -> ListPage:
    """Return the values that follow `after`."""
    rows = await _rows(connection, list_, after, limit + 1)
    return _page(list_, rows[:limit], rows[limit - 1]["value"] if len(rows) > limit else None)


async def lookup(connection: Connection, list_: ReadList, value: str) -> ListPage:
    """Return a page with one value, or an empty page if the list does not have it."""
    rows = sql.find_list_values(
        connection,
        store=list_.store,
        sequence=list_.sequence,
        hashes=[value_hash(list_.salt, value)],
        values=[value],
    )
    return _page(list_, [row async for row in rows], None)


async def all_values(
    database: Database, list_: ReadList
) -> AsyncGenerator[Sequence[StoredValue], None]:
    """Yield all values in pages. A stored state never changes, so each page takes a connection."""
    after = ""
    while True:
        async with database.connection() as connection:
            rows = await _rows(connection, list_, after, _PAGE)
        if rows:
            yield _values(rows)
            after = rows[-1]["value"]
        if len(rows) < _PAGE:
            return


async def _rows(connection: Connection, list_: ReadList, after: str, count: int) -> list[Any]:
    rows = sql.list_list_values(
        connection,
        store=list_.store,
        sequence=list_.sequence,
        after_hash=value_hash(list_.salt, after) if after else _LOWEST,
        after_value=after,
        page_size=count,
    )
    return [row async for row in rows]


def _page(list_: ReadList, rows: Sequence[Any], following: str | None) -> ListPage:
    return ListPage(
        items=_values(rows),
        next=following,
        count=list_.reference.count,
        digest=list_.reference.digest,
        version=list_.configuration.version,
        revision=list_.revision,
    )


def _values(rows: Sequence[Any]) -> list[StoredValue]:
    return [StoredValue(value=row["value"], expires_at=row["expires_at"]) for row in rows]
