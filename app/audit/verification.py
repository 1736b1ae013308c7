"""Verifying an environment: its chain, link by link, and that what is true now is what it says.

A chain alone cannot show that its end was cut off, or that all of it was written anew by whoever
owns the tables. Heads that were signed and kept elsewhere can: see `audit/heads.py`.
"""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from app.audit.heads import Head
from app.audit.reading import PAGE_SIZE, UNREADABLE, StoredLink, UnreadableError, pages
from app.changes.chain import GENESIS, link
from app.crypto.envelope import commitment
from app.database import Connection, Database, sql
from app.database.threads import in_thread
from app.environments import service as environments
from app.environments.models import Environment, Properties

Report = Callable[[int], None]


@dataclass(frozen=True, kw_only=True)
class Verified:
    """All of it holds. `unchained` are revisions from before there was a chain."""

    environment: str
    epoch: str
    revision: int
    hash: str | None
    unchained: int
    heads: int


@dataclass(frozen=True, kw_only=True)
class Broken:
    """The first thing that does not hold, in a sentence that follows on `revision N`."""

    environment: str
    revision: int
    reason: str


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


async def verify(
    connection: Connection,
    name: str,
    *,
    heads: Sequence[Head] = (),
    report: Report = lambda _: None,
) -> Verified | Broken:
    """Verify one environment, in a transaction that sees one moment, such as of `one_moment`.

    `heads` are those that were signed for it; each must be in its history. `report` is told how
    many revisions are done, now and then. Raises NotFound for the environment.
    """
    environment = await environments.get(connection, name)
    walk = _Walk(heads)
    try:
        end = await follow(connection, name, Position(), walk.saw, report)
        check_end(environment, end)
        walk.check_heads(environment)
        await _check_entries(connection, name, walk.origins)
        _check_properties(environment, walk.properties)
    except BrokenChainError as error:
        return Broken(environment=name, revision=error.revision, reason=error.reason)
    return Verified(
        environment=name,
        epoch=environment.epoch,
        revision=environment.revision,
        hash=environment.hash,
        unchained=walk.unchained,
        heads=len(heads),
    )


@asynccontextmanager
async def one_moment(database: Database) -> AsyncIterator[Connection]:
    """Lend a connection that reads the database as it is now, whatever is written meanwhile."""
    async with (
        database.connection() as connection,
        connection.transaction(isolation="repeatable_read", readonly=True),
    ):
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
            # Hashing takes a while, and whoever else is on this loop is to be answered meanwhile.
            work = partial(_follow_page, environment, position, page, saw)
            position = await in_thread("verify", work)
            report(position.revision)
    except UnreadableError as error:
        raise BrokenChainError(error.revision, _UNREADABLE) from None
    return position


def _follow_page(
    environment: str,
    position: Position,
    page: Sequence[StoredLink],
    saw: Callable[[StoredLink], None],
) -> Position:
    for each in page:
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
        return link(
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


class _Walk:
    """What is gathered on the way, to be compared with what is true at its end."""

    def __init__(self, heads: Sequence[Head]) -> None:
        self._heads = sorted(heads, key=lambda head: head.revision)
        self._expected: dict[int, set[str]] = {}
        for head in heads:
            self._expected.setdefault(head.revision, set()).add(head.hash)
        # Which revision touched each key last; a key that it deleted is not among them.
        self.origins: dict[str, int] = {}
        self.properties: Properties | None = None
        self.unchained = 0

    def saw(self, stored: StoredLink) -> None:
        self.unchained += stored.hash is None
        expected = self._expected.get(stored.revision)
        if expected is not None and expected != {(stored.hash or b"").hex()}:
            raise BrokenChainError(stored.revision, _NOT_AS_SIGNED)
        for change in stored.changes:
            if change.version is None:
                self.origins.pop(change.key, None)
            else:
                self.origins[change.key] = stored.revision
        if stored.properties is not None:
            self.properties = stored.properties.after

    def check_heads(self, environment: Environment) -> None:
        beyond = (head for head in self._heads if head.revision > environment.revision)
        for head in beyond:
            raise BrokenChainError(
                head.revision, f"was signed at {head.at:%Y-%m-%d %H:%M:%S} UTC, and is gone"
            )


_UNREADABLE = "holds what no service has written, and cannot be read"
_NOT_AS_SIGNED = "is another one than was signed: the history was written anew"


def check_end(environment: Environment, end: Position) -> None:
    """Make sure that a chain ends where its environment says. Raises BrokenChainError."""
    if end.revision < environment.revision:
        raise BrokenChainError(end.revision + 1, "is missing, up to that of the environment")
    if end.revision > environment.revision:
        raise BrokenChainError(environment.revision + 1, "is beyond that of the environment")
    if (end.hash.hex() if end.hash else None) != environment.hash:
        raise BrokenChainError(end.revision, "has another hash than the environment follows on")


async def _check_entries(
    connection: Connection, environment: str, origins: Mapping[str, int]
) -> None:
    """Make sure that each entry is what the last change to its key has left, and none is gone."""
    after, seen = "", 0
    while True:
        rows: list[Any] = [
            row
            async for row in sql.list_entry_origins(
                connection, environment=environment, after=after, page_size=PAGE_SIZE
            )
        ]
        for row in rows:
            expected = origins.get(row["key"])
            if expected is None:
                raise BrokenChainError(
                    row["updated_revision"], f"did not make {row['key']}, which is there"
                )
            if row["updated_revision"] != expected or not _is_same(row):
                raise BrokenChainError(expected, f"left {row['key']} otherwise than it is now")
        seen += len(rows)
        if len(rows) < PAGE_SIZE:
            break
        after = rows[-1]["key"]
    if seen < len(origins):
        raise BrokenChainError(*await _missing(connection, environment, origins))


def _is_same(row: Any) -> bool:
    sides = row["sealed"], row["after_sealed"]
    sealed = [side and commitment(side) for side in sides]
    return bool(row["is_same"]) and sealed[0] == sealed[1]


async def _missing(
    connection: Connection, environment: str, origins: Mapping[str, int]
) -> tuple[int, str]:
    """Return the first revision of which an entry is gone, and its key in a sentence."""
    rows = sql.list_entries(connection, environment=environment, keys=list(origins))
    there = {row["key"] async for row in rows}
    revision, key = min((origins[key], key) for key in origins.keys() - there)
    return revision, f"left {key}, which is gone"


def _check_properties(environment: Environment, last: Properties | None) -> None:
    if last is not None and last != environment.properties:
        raise BrokenChainError(
            environment.revision, "is not where the environment's own properties come from"
        )
    if last is None and environment.version != 1:
        raise BrokenChainError(environment.revision, "has no trace of the environment's properties")
