"""Verify an environment: its chain, and that the stored entries and properties match it.

A chain alone cannot show that its end was cut off, or that the owner of the tables rewrote all of
it. Signed heads that are stored elsewhere can: see `audit/heads.py`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from app.audit.chain import (
    UNREADABLE,
    BrokenChainError,
    Position,
    Report,
    StoredLink,
    check_end,
    follow,
)
from app.audit.heads import Head, check_expectations, heads_of
from app.configuration.changes.chain import entry_hash
from app.configuration.changes.models import ChangeKind
from app.configuration.changes.properties import have_same_properties
from app.database import Connection, sql
from app.environments import service as environments
from app.environments.models import Environment, Properties
from app.errors import NotFound

# Comparing the largest values takes long.
_ENTRIES_AT_ONCE = 25


@dataclass(frozen=True, kw_only=True)
class Verified:
    environment: str
    epoch: str
    revision: int
    hash: str | None
    heads: int


@dataclass(frozen=True, kw_only=True)
class Broken:
    """The first mismatch. `reason` continues the text `revision N`."""

    environment: str
    revision: int
    reason: str


@dataclass(frozen=True, kw_only=True)
class _LastState:
    """The entry that the last change of a key wrote."""

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
    """Verify one environment, on a connection of `consistent_read`.

    Its history must include each signed head, or with `current_epoch` each head of that epoch.
    Calls `report` with the last verified revision. Raises NotFound for an unknown environment
    without a signed head.
    """
    signed = heads_of(heads, name)
    try:
        environment = await environments.get(connection, name, with_deleted=True)
        if current_epoch:
            signed = heads_of(heads, name, environment.epoch)
        walk = _Walk(name, signed)
        end = await follow(connection, name, Position(), walk.visit, report)
        check_end(environment, end)
        is_deleted = await sql.is_environment_deleted(connection, name=name)
        walk.check_closings(environment, is_deleted=is_deleted)
        await _check_strays(connection, environment)
        walk.check_heads(environment)
        await _check_entries(connection, environment, walk.entries)
        walk.check_properties(environment)
        # Last, because a mismatch of the history matters more.
        await check_expectations(connection, walk.heads)
    except BrokenChainError as error:
        return Broken(environment=name, revision=error.revision, reason=error.reason)
    except UNREADABLE:
        revision = (await latest_revisions(connection))[name]
        reason = "is the last, and the row of the environment cannot be read"
        return Broken(environment=name, revision=revision, reason=reason)
    except NotFound:
        if not signed:
            raise
        last = max(signed, key=lambda head: head.revision)
        reason = f"{_missing(last)}, as is the whole environment"
        return Broken(environment=name, revision=last.revision, reason=reason)
    return Verified(
        environment=name,
        epoch=environment.epoch,
        revision=environment.revision,
        hash=environment.hash,
        heads=len(signed),
    )


class _Walk:
    """The state that the chain describes, collected link by link."""

    def __init__(self, name: str, heads: Sequence[Head]) -> None:
        self.heads = sorted(heads, key=lambda head: head.revision)
        self._expected: dict[int, set[str]] = {}
        for head in heads:
            self._expected.setdefault(head.revision, set()).add(head.hash)
        # The entries by key, without deleted ones.
        self.entries: dict[str, _LastState] = {}
        # Those of a new environment. The initial `production` is protected.
        protected = name == "production"
        self.properties = Properties(metadata={}, fractional="v3", protected=protected, version=1)
        # The revisions that deleted an environment of this name.
        self.closings: list[int] = []

    def visit(self, stored: StoredLink) -> None:
        if stored.kind is ChangeKind.DELETE:
            self.closings.append(stored.revision)
        expected = self._expected.get(stored.revision)
        if expected is not None and expected != {(stored.hash or b"").hex()}:
            reason = "differs from the signed head: the history was rewritten"
            raise BrokenChainError(stored.revision, reason)
        for change in stored.changes:
            before = self.entries.pop(change.key, None)
            before_hash = entry_hash(change.before.content, change.before.version)
            if before_hash != (before and before.hash):
                reason = f"has another state of {change.key} before it than the history"
                raise BrokenChainError(stored.revision, reason)
            after_hash = entry_hash(change.after, change.version)
            if after_hash is not None:
                self.entries[change.key] = _LastState(
                    revision=stored.revision,
                    hash=after_hash,
                    created_at=before.created_at if before else stored.created_at,
                    updated_at=stored.created_at,
                )
        if stored.properties is not None:
            if not _are_equal(stored.properties.before, self.properties):
                reason = "has other properties of the environment before it than the history"
                raise BrokenChainError(stored.revision, reason)
            self.properties = stored.properties.after

    def check_closings(self, environment: Environment, *, is_deleted: bool) -> None:
        """Check that the environment is deleted if and only if its last change set deleted it."""
        is_closed = self.closings[-1:] == [environment.revision]
        if is_deleted and not is_closed:
            reason = "is the last and did not delete the environment, which is marked as deleted"
            raise BrokenChainError(environment.revision, reason)
        if is_closed and not is_deleted:
            reason = "deleted the environment, which exists without a change set that created it"
            raise BrokenChainError(environment.revision, reason)
        before = self.closings[:-1] if is_deleted else self.closings
        if environment.first_revision != (before[-1] if before else 0) + 1:
            reason = "is not the first revision of the environment"
            raise BrokenChainError(environment.first_revision, reason)

    def check_heads(self, environment: Environment) -> None:
        for head in self.heads:
            if head.revision > environment.revision:
                raise BrokenChainError(head.revision, _missing(head))

    def check_properties(self, environment: Environment) -> None:
        if not _are_equal(self.properties, environment.properties):
            reason = "is the last, and the history has other properties than are stored"
            raise BrokenChainError(environment.revision, reason)


def _missing(head: Head) -> str:
    return f"was signed at {head.at:%Y-%m-%d %H:%M:%S} UTC, but is missing"


async def _check_strays(connection: Connection, environment: Environment) -> None:
    stray = await sql.find_stray_revision(
        connection, environment=environment.name, revision=environment.revision
    )
    if stray is not None:
        raise BrokenChainError(stray, "is not in the chain, but has changes")


async def _check_entries(
    connection: Connection, environment: Environment, entries: Mapping[str, _LastState]
) -> None:
    """Check that each stored entry matches the last change of its key, and that none is missing."""
    after, missing = "", dict(entries)
    while True:
        rows: list[Any] = [
            row
            async for row in sql.list_entry_origins(
                connection, environment=environment.name, after=after, page_size=_ENTRIES_AT_ONCE
            )
        ]
        for row in rows:
            expected = missing.pop(row["key"], None)
            if expected is None:
                reason = f"did not write {row['key']}, which is stored"
                raise BrokenChainError(row["updated_revision"], reason)
            if not _is_same(row, expected):
                reason = f"wrote another state of {row['key']} than is stored"
                raise BrokenChainError(expected.revision, reason)
        if len(rows) < _ENTRIES_AT_ONCE:
            break
        after = rows[-1]["key"]
    if missing:
        revision, key = min((state.revision, key) for key, state in missing.items())
        raise BrokenChainError(revision, f"wrote {key}, which is missing")


def _is_same(row: Any, expected: _LastState) -> bool:
    stored = row["updated_revision"], row["created_at"], row["updated_at"]
    times = (_text(expected.created_at), _text(expected.updated_at))
    return bool(row["is_same"]) and stored == (expected.revision, *times)


def _text(moment: datetime) -> str:
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds")


def _are_equal(left: Properties, right: Properties) -> bool:
    return left.version == right.version and have_same_properties(left, right)


async def latest_revisions(connection: Connection) -> dict[str, int]:
    """Return the latest revision of each environment, even if its row is unreadable."""
    return {row["name"]: row["revision"] async for row in sql.list_heads(connection)}
