"""Verifying an environment: its chain, link by link, and that what is true now is what it says.

A chain alone cannot show that its end was cut off, or that all of it was written anew by whoever
owns the tables. Heads that were signed and kept elsewhere can: see `audit/heads.py`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from app.audit.chain_walk import BrokenChainError, Position, Report, check_end, follow
from app.audit.heads import Head, check_expectations, heads_of
from app.audit.stored_chain import UNREADABLE, StoredLink
from app.configuration.changes.chain import entry_hash
from app.configuration.changes.models import ChangeKind
from app.configuration.changes.properties import have_same_properties
from app.database import Connection, sql
from app.environments import service as environments
from app.environments.models import Environment, Properties
from app.errors import NotFound

# To compare the largest values takes a while, where they are.
_ENTRIES_AT_ONCE = 25


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


@dataclass(frozen=True, kw_only=True)
class _Left:
    """What the last change to a key left: an entry, by its hash, and since when it is there."""

    revision: int
    hash: bytes
    created_at: datetime
    updated_at: datetime


async def verify(
    connection: Connection,
    name: str,
    *,
    heads: Sequence[Head] = (),
    current_epoch: bool = False,
    report: Report = lambda _: None,
) -> Verified | Broken:
    """Verify one environment, in a transaction that sees one moment, such as of `consistent_read`.

    Each of the heads that were signed for it must be in its history, or those of its current epoch.
    `report` is told how many revisions are done, now and then. Raises NotFound for an environment
    that is not there and for which no head was signed.
    """
    signed = heads_of(heads, name)
    try:
        environment = await environments.get(connection, name, with_deleted=True)
        if current_epoch:
            signed = heads_of(heads, name, environment.epoch)
        walk = _Walk(name, signed)
        end = await follow(connection, name, Position(), walk.saw, report)
        check_end(environment, end)
        is_deleted = await sql.is_environment_deleted(connection, name=name)
        walk.check_closings(environment, is_deleted=is_deleted)
        await _check_strays(connection, environment)
        walk.check_heads(environment)
        await _check_entries(connection, environment, walk.left)
        _check_properties(environment, walk.properties)
        # Last, so that it hides nothing that matters more.
        await check_expectations(connection, walk.heads)
    except BrokenChainError as error:
        return Broken(environment=name, revision=error.revision, reason=error.reason)
    except UNREADABLE:
        revision = (await latest_revisions(connection))[name]
        return Broken(environment=name, revision=revision, reason=_ITSELF)
    except NotFound:
        if not signed:
            raise
        last = max(signed, key=lambda head: head.revision)
        reason = f"{_when(last)}, with the whole environment"
        return Broken(environment=name, revision=last.revision, reason=reason)
    return Verified(
        environment=name,
        epoch=environment.epoch,
        revision=environment.revision,
        hash=environment.hash,
        unchained=walk.unchained,
        heads=len(signed),
    )


class _Walk:
    """What is gathered on the way, to be compared with what is true at its end."""

    def __init__(self, name: str, heads: Sequence[Head]) -> None:
        self.heads = sorted(heads, key=lambda head: head.revision)
        self._expected: dict[int, set[str]] = {}
        for head in heads:
            self._expected.setdefault(head.revision, set()).add(head.hash)
        # Of each key what is there; one that was deleted is not among them.
        self.left: dict[str, _Left] = {}
        self.properties = _first_properties(name)
        self.unchained = 0
        # Revisions that closed the history of an environment of this name.
        self.closings: list[int] = []

    def saw(self, stored: StoredLink) -> None:
        self.unchained += stored.hash is None
        if stored.kind is ChangeKind.DELETE:
            self.closings.append(stored.revision)
        expected = self._expected.get(stored.revision)
        if expected is not None and expected != {(stored.hash or b"").hex()}:
            raise BrokenChainError(stored.revision, _NOT_AS_SIGNED)
        for change in stored.changes:
            before = self.left.pop(change.key, None)
            found = entry_hash(change.before.content, change.before.version)
            if found != (before and before.hash):
                raise BrokenChainError(stored.revision, f"found {change.key} {_BESIDE}")
            made = entry_hash(change.after, change.version)
            if made is not None:
                self.left[change.key] = _Left(
                    revision=stored.revision,
                    hash=made,
                    created_at=before.created_at if before else stored.created_at,
                    updated_at=stored.created_at,
                )
        if stored.properties is not None:
            if not _are_one(stored.properties.before, self.properties):
                raise BrokenChainError(
                    stored.revision, f"found the environment's own properties {_BESIDE}"
                )
            self.properties = stored.properties.after

    def check_closings(self, environment: Environment, *, is_deleted: bool) -> None:
        """Make sure that a deleted environment was closed by its last change set, and no other."""
        closed = self.closings[-1:] == [environment.revision]
        if is_deleted and not closed:
            raise BrokenChainError(environment.revision, _NOT_CLOSED)
        if closed and not is_deleted:
            raise BrokenChainError(environment.revision, _REOPENED)
        before = self.closings[:-1] if is_deleted else self.closings
        if environment.first_revision != (before[-1] if before else 0) + 1:
            raise BrokenChainError(environment.first_revision, _NOT_FIRST)

    def check_heads(self, environment: Environment) -> None:
        for head in self.heads:
            if head.revision > environment.revision:
                raise BrokenChainError(head.revision, _when(head))


_NOT_AS_SIGNED = "is another one than was signed: the history was written anew"
_NOT_CLOSED = "is the last, and did not delete the environment, which is marked as deleted"
_REOPENED = "deleted the environment, which is there without a change set that made it"
_NOT_FIRST = "is not where the environment's history begins"
_BESIDE = "otherwise than what is before it has left"
_ITSELF = "is the last, and what the environment says of itself cannot be read"


def _when(head: Head) -> str:
    return f"was signed at {head.at:%Y-%m-%d %H:%M:%S} UTC, and is gone"


def _first_properties(name: str) -> Properties:
    """Return what an environment is made with; one that is there from the first is protected."""
    return Properties(metadata={}, fractional="v3", protected=name == "production", version=1)


async def _check_strays(connection: Connection, environment: Environment) -> None:
    """Make sure that nothing lies beside the chain, where it would still be read."""
    stray = await sql.find_stray_revision(
        connection, environment=environment.name, revision=environment.revision
    )
    if stray is not None:
        raise BrokenChainError(
            stray, "is none of the chain, and there are changes of it all the same"
        )


async def _check_entries(
    connection: Connection, environment: Environment, left: Mapping[str, _Left]
) -> None:
    """Make sure that each entry is what the last change to its key has left, and none is gone."""
    after, gone = "", dict(left)
    while True:
        rows: list[Any] = [
            row
            async for row in sql.list_entry_origins(
                connection, environment=environment.name, after=after, page_size=_ENTRIES_AT_ONCE
            )
        ]
        for row in rows:
            expected = gone.pop(row["key"], None)
            if expected is None:
                raise BrokenChainError(
                    row["updated_revision"], f"did not make {row['key']}, which is there"
                )
            if not _is_same(row, expected):
                raise BrokenChainError(
                    expected.revision, f"left {row['key']} otherwise than it is now"
                )
        if len(rows) < _ENTRIES_AT_ONCE:
            break
        after = rows[-1]["key"]
    if gone:
        revision, key = min((each.revision, key) for key, each in gone.items())
        raise BrokenChainError(revision, f"left {key}, which is gone")


def _is_same(row: Any, expected: _Left) -> bool:
    found = row["updated_revision"], row["created_at"], row["updated_at"]
    times = (_text(expected.created_at), _text(expected.updated_at))
    return bool(row["is_same"]) and found == (expected.revision, *times)


def _text(moment: datetime) -> str:
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds")


def _check_properties(environment: Environment, last: Properties) -> None:
    if not _are_one(last, environment.properties):
        raise BrokenChainError(
            environment.revision, "is not where the environment's own properties come from"
        )


def _are_one(left: Properties, right: Properties) -> bool:
    """Tell whether they are the same as JSON, where true is not 1 as in Python."""
    return left.version == right.version and have_same_properties(left, right)


async def latest_revisions(connection: Connection) -> dict[str, int]:
    """Return the latest revision of each environment, whatever these say of themselves."""
    return {row["name"]: row["revision"] async for row in sql.list_counters(connection)}
