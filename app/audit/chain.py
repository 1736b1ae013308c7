"""Read the stored change sets of a chain in pages of bounded size, and verify them link by link."""

from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import msgspec

from app.configuration.changes.chain import GENESIS, link_hash
from app.configuration.changes.models import Change, ChangeKind, Entry, Link, PropertiesChange
from app.configuration.changes.rows import content_of, properties_change_of
from app.database import Connection, Database, sql
from app.environments.models import Environment
from app.environments.protection import approval_of
from app.threads import in_thread

PAGE_SIZE = 1_000
# The limit of one statement, so that it ends in time.
_PAGE_BYTES_MAX = 4 * 1024 * 1024
_BEYOND_KEYS = "\x7f"
# Errors of rows that no release writes: JSON that is too deep, a time in the year 200000.
UNREADABLE = (ValueError, ArithmeticError, RecursionError, msgspec.MsgspecError)
UNREADABLE_REASON = "cannot be read, because it has data that no release writes"
Report = Callable[[int], None]


class BrokenChainError(Exception):
    """A change set differs from the chain. `reason` continues the text `revision N`."""

    def __init__(self, revision: int, reason: str) -> None:
        self.revision = revision
        self.reason = reason
        super().__init__(f"revision {revision} {reason}")


@dataclass(frozen=True, kw_only=True)
class StoredLink(Link):
    """A stored change set. `hash` is None only after a change by hand."""

    hash: bytes | None


async def pages(
    connection: Connection, environment: str, after: int
) -> AsyncIterator[list[StoredLink]]:
    """Yield pages of the change sets after a revision, in order. Raises BrokenChainError.

    The caller reads in one repeatable-read transaction; otherwise a writer could interfere.
    """
    page_size = PAGE_SIZE
    while True:
        try:
            page = await _page(connection, environment, after, page_size)
        except UNREADABLE:
            if page_size == 1:
                raise BrokenChainError(after + 1, UNREADABLE_REASON) from None
            page_size = 1  # to find the revision of the error
            continue
        if not page:
            return
        after = page[-1].revision
        yield page


async def _page(
    connection: Connection, environment: str, after: int, page_size: int
) -> list[StoredLink]:
    rows: list[Any] = [
        row
        async for row in sql.list_links(
            connection,
            environment=environment,
            after=after,
            page_size=page_size,
            page_bytes=_PAGE_BYTES_MAX,
        )
    ]
    if not rows:
        return []
    last, count, size = (rows[-1][name] for name in ("revision", "changes", "bytes"))
    batch_size = 1 + count * _PAGE_BYTES_MAX // max(size, _PAGE_BYTES_MAX)
    changed = await _changed(connection, environment, after, last, batch_size)
    properties = {
        row["revision"]: properties_change_of(row)
        async for row in sql.list_property_changes(
            connection, environment=environment, after=after, until=last
        )
    }
    # A page may have thousands of changes.
    work = partial(_links, environment, rows, changed, properties)
    return await in_thread("links", work)


def _links(
    environment: str,
    rows: Sequence[Any],
    changed: Sequence[Any],
    properties: Mapping[int, PropertiesChange],
) -> list[StoredLink]:
    changes: dict[int, list[Change]] = defaultdict(list)
    for row in changed:
        changes[row["revision"]].append(_change(environment, row))
    return [
        StoredLink(
            environment=environment,
            revision=row["revision"],
            kind=ChangeKind(row["kind"]),
            actor=row["actor"],
            message=row["message"],
            created_at=row["created_at"],
            hash=row["hash"],
            changes=changes.get(row["revision"], []),
            properties=properties.get(row["revision"]),
            approval=approval_of(row["approval"]),
        )
        for row in rows
    ]


async def _changed(
    connection: Connection, environment: str, after: int, until: int, batch_size: int
) -> list[Any]:
    """Return the changes of a page. One change set may need several statements."""
    changed: list[Any] = []
    after_key = _BEYOND_KEYS
    while True:
        rows: list[Any] = [
            row
            async for row in sql.list_linked_changes(
                connection,
                environment=environment,
                after=after,
                after_key=after_key,
                until=until,
                page_size=batch_size,
            )
        ]
        changed += rows
        if len(rows) < batch_size:
            return changed
        after, after_key = rows[-1]["revision"], rows[-1]["key"]


def _change(environment: str, row: Any) -> Change:
    key, before, after = row["key"], row["before_version"], row["after_version"]
    content = content_of(environment, row, "before_") if before is not None else None
    return Change(
        key=key,
        before=Entry(key=key, content=content, version=before, last_version=before or 0),
        after=content_of(environment, row, "after_") if after is not None else None,
        version=after,
    )


@dataclass(frozen=True)
class Position:
    """A position in a chain. The hash is None before the first change set."""

    revision: int = 0
    hash: bytes | None = None


@asynccontextmanager
async def consistent_read(database: Database) -> AsyncIterator[Connection]:
    """Lend a connection whose statements all read the same state of the database."""
    async with (
        database.connection() as connection,
        connection.transaction(isolation="repeatable_read", readonly=True),
    ):
        # Hashing a large change set takes longer than the usual limit between two statements.
        await connection.execute("set local idle_in_transaction_session_timeout = '60s'")
        yield connection


async def follow(
    connection: Connection,
    environment: str,
    position: Position,
    visit: Callable[[StoredLink], None] = lambda _: None,
    report: Report = lambda _: None,
) -> Position:
    """Verify the chain from a position on, and return its end. Raises BrokenChainError."""
    async for page in pages(connection, environment, position.revision):
        # In a thread, because hashing and freeing a page would block the event loop.
        position = await in_thread("verify", partial(_follow_page, position, page, visit))
        report(position.revision)
    return position


def _follow_page(
    position: Position, page: list[StoredLink], visit: Callable[[StoredLink], None]
) -> Position:
    """Verify the links of a page, and empty it."""
    while page:
        stored = page.pop(0)
        if stored.revision != position.revision + 1:
            raise BrokenChainError(position.revision + 1, "is missing")
        if stored.hash is None:
            raise BrokenChainError(stored.revision, "has lost its hash")
        if stored.hash != _hash(position, stored):
            raise BrokenChainError(
                stored.revision, "does not match its hash: it, or one before it, was changed"
            )
        visit(stored)
        position = Position(stored.revision, stored.hash)
    return position


def _hash(position: Position, stored: StoredLink) -> bytes:
    try:
        return link_hash(position.hash or GENESIS, stored)
    except UNREADABLE:
        raise BrokenChainError(stored.revision, UNREADABLE_REASON) from None


def check_end(environment: Environment, end: Position) -> None:
    """Check that the chain ends at the environment's revision and hash. Raises BrokenChainError."""
    if end.revision < environment.revision:
        reason = f"is missing, but the environment is at revision {environment.revision}"
        raise BrokenChainError(end.revision + 1, reason)
    if end.revision > environment.revision:
        reason = f"exists, but the environment is at revision {environment.revision}"
        raise BrokenChainError(environment.revision + 1, reason)
    if (end.hash.hex() if end.hash else None) != environment.hash:
        raise BrokenChainError(end.revision, "has another hash than the environment")
