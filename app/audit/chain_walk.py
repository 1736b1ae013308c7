"""Verify a chain link by link, from a position to its end."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

from app.audit.stored_chain import (
    UNREADABLE,
    UNREADABLE_REASON,
    BrokenChainError,
    StoredLink,
    pages,
)
from app.configuration.changes.chain import GENESIS, link_hash
from app.database import Connection, Database
from app.environments.models import Environment
from app.threads import in_thread

Report = Callable[[int], None]


@dataclass(frozen=True)
class Position:
    """A position in a chain. The hash is None before the first chained change set."""

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
        if stored.hash is None and position.hash is not None:
            raise BrokenChainError(stored.revision, "has lost its hash")
        if stored.hash is not None and stored.hash != _hash(position, stored):
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
