"""Following a chain, link by link, from any of its change sets to its end."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

from app.audit.stored_chain import UNREADABLE, StoredLink, UnreadableError, pages
from app.configuration.changes.chain import GENESIS, link_hash
from app.database import Connection, Database
from app.environments.models import Environment
from app.threads import in_thread

Report = Callable[[int], None]

_UNREADABLE = "holds what no service has written, and cannot be read"


@dataclass(frozen=True)
class Position:
    """Where in a chain somebody stands; the hash is None as long as no change set is chained."""

    revision: int = 0
    hash: bytes | None = None


class BrokenChainError(Exception):
    """A link does not hold."""

    def __init__(self, revision: int, reason: str) -> None:
        self.revision = revision
        self.reason = reason
        super().__init__(f"revision {revision} {reason}")


@asynccontextmanager
async def consistent_read(database: Database) -> AsyncIterator[Connection]:
    """Lend a connection that reads the database as it is now, whatever is written meanwhile."""
    async with (
        database.connection() as connection,
        connection.transaction(isolation="repeatable_read", readonly=True),
    ):
        # To hash what one large change set says takes longer than the pause that is allowed else.
        await connection.execute("set local idle_in_transaction_session_timeout = '60s'")
        yield connection


async def follow(
    connection: Connection,
    environment: str,
    position: Position,
    saw: Callable[[StoredLink], None] = lambda _: None,
    report: Report = lambda _: None,
) -> Position:
    """Follow the chain from a position to its end and return that. Raises BrokenChainError."""
    try:
        async for page in pages(connection, environment, position.revision):
            # Hashing and freeing a page take longer than the event loop may be held.
            work = partial(_follow_page, environment, position, page, saw)
            position = await in_thread("verify", work)
            report(position.revision)
    except UnreadableError as error:
        raise BrokenChainError(error.revision, _UNREADABLE) from None
    return position


def _follow_page(
    environment: str,
    position: Position,
    page: list[StoredLink],
    saw: Callable[[StoredLink], None],
) -> Position:
    """Check the links of a page, which is empty afterwards."""
    while page:
        each = page.pop(0)
        if each.revision != position.revision + 1:
            raise BrokenChainError(position.revision + 1, "is missing")
        if each.hash is None and position.hash is not None:
            raise BrokenChainError(each.revision, "has lost its hash")
        if each.hash is not None and each.hash != _hash(environment, position, each):
            raise BrokenChainError(
                each.revision, "is not what was hashed: it, or what it follows on, was changed"
            )
        saw(each)
        position = Position(each.revision, each.hash)
    return position


def _hash(environment: str, position: Position, stored: StoredLink) -> bytes:
    try:
        return link_hash(
            position.hash or GENESIS,
            environment=environment,
            revision=stored.revision,
            kind=stored.kind,
            actor=stored.actor,
            message=stored.message,
            created_at=stored.created_at,
            changes=stored.changes,
            properties=stored.properties,
        )
    except UNREADABLE:
        raise BrokenChainError(stored.revision, _UNREADABLE) from None


def check_end(environment: Environment, end: Position) -> None:
    """Make sure that a chain ends where its environment says. Raises BrokenChainError."""
    if end.revision < environment.revision:
        raise BrokenChainError(end.revision + 1, "is missing, up to that of the environment")
    if end.revision > environment.revision:
        raise BrokenChainError(environment.revision + 1, "is beyond that of the environment")
    if (end.hash.hex() if end.hash else None) != environment.hash:
        raise BrokenChainError(end.revision, "has another hash than the environment follows on")
