"""The records of a run and its final state: plain data, one JSON document a line."""

from collections.abc import Iterable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeAlias

import msgspec


class Entry(msgspec.Struct, frozen=True):
    version: int
    value: Any


class Outcome(StrEnum):
    """UNKNOWN: the answer was lost; the write may have succeeded, then or later."""

    OK = "ok"
    REFUSED = "refused"
    UNKNOWN = "unknown"


class Attempt(msgspec.Struct, frozen=True):
    """One request of a write. Status 0 means that no answer arrived."""

    replica: str
    started: float
    ended: float
    status: int


class RequestedChange(msgspec.Struct, frozen=True, kw_only=True):
    """The change of one key that a write requests. Version 0 expects no entry; None deletes."""

    environment: str
    key: str
    version: int
    value: Any


class AppliedChange(msgspec.Struct, frozen=True, kw_only=True):
    """The result for one key; version None is a deletion."""

    environment: str
    revision: int
    key: str
    version: int | None


class Write(msgspec.Struct, frozen=True, kw_only=True, tag="write"):
    """One write with all its attempts. `name` is its Idempotency-Key and its message."""

    client: str
    name: str
    method: str
    path: str
    environments: tuple[str, ...]
    requested: tuple[RequestedChange, ...]
    attempts: tuple[Attempt, ...]
    outcome: Outcome
    applied: tuple[AppliedChange, ...] = ()

    @property
    def started(self) -> float:
        return self.attempts[0].started

    @property
    def ended(self) -> float:
        return self.attempts[-1].ended


class Read(msgspec.Struct, frozen=True, kw_only=True, tag="read"):
    """All entries of an environment. `life` counts the starts of the replica's process."""

    client: str
    replica: str
    life: int
    environment: str
    min_revision: int | None
    started: float
    ended: float
    status: int
    epoch: str = ""
    revision: int = -1
    entries: Mapping[str, Entry] = {}


class Heard(msgspec.Struct, frozen=True, kw_only=True, tag="heard"):
    """One message of a stream: a change, a resync, or an event ID alone."""

    client: str
    connection: int
    replica: str
    environment: str
    prefix: str
    at: float
    name: str
    epoch: str
    revision: int
    keys: tuple[str, ...] = ()


class Fault(msgspec.Struct, frozen=True, kw_only=True, tag="fault"):
    kind: str
    target: str
    started: float
    ended: float


class Action(msgspec.Struct, frozen=True, kw_only=True, tag="action"):
    """What a person did to a proposal, or to the protected environment directly.

    `version` and `applied` are those of the answer; status 0 means that no answer arrived.
    """

    kind: str
    actor: str
    proposal: int
    version: int
    started: float
    ended: float
    status: int
    applied: Mapping[str, int] = {}


class Evaluated(msgspec.Struct, frozen=True, kw_only=True, tag="evaluated"):
    """The variants of all flags with plans. Times are of the wall clock."""

    replica: str
    started: float
    ended: float
    revision: int
    variants: Mapping[str, str]


class Change(msgspec.Struct, frozen=True):
    key: str
    before: Entry | None
    after: Entry | None


class Approval(msgspec.Struct, frozen=True):
    """The proposal that a change set came from, and who approved it."""

    proposal: int
    approvers: tuple[str, ...]


class ChangeSet(msgspec.Struct, frozen=True):
    """`properties` is a change of the empty key. `at` is in seconds of the database's clock."""

    revision: int
    message: str
    changes: tuple[Change, ...]
    properties: Change | None = None
    kind: str = "edit"
    at: float = 0.0
    approval: Approval | None = None


class Served(msgspec.Struct, frozen=True):
    """The last answer of one replica, in bytes; revision -1 means no answer."""

    epoch: str
    revision: int
    page: str
    properties: Entry | None = None


class Final(msgspec.Struct, frozen=True, kw_only=True, tag="final"):
    """The final state of one environment: from the database, from the history over HTTP,
    as each replica serves it, and how far each stream has come.
    """

    environment: str
    epoch: str
    revision: int
    change_sets: tuple[ChangeSet, ...]
    entries: Mapping[str, Entry]
    properties: Entry
    reported: tuple[ChangeSet, ...]
    served: Mapping[str, Served]
    streams: Mapping[str, int]


class ProposedChange(msgspec.Struct, frozen=True):
    """The change of one key. Version 0 expects no entry; value None deletes."""

    key: str
    version: int
    value: Any


class ProposalEvent(msgspec.Struct, frozen=True):
    name: str
    actor: str
    version: int


class FinalProposal(msgspec.Struct, frozen=True, kw_only=True, tag="proposal"):
    """A proposal at the end, from the database. `apply_at` is as the time of a change set."""

    id: int
    state: str
    version: int
    author: str
    operations: tuple[ProposedChange, ...]
    events: tuple[ProposalEvent, ...]
    apply_at: float | None = None
    expires_after_seconds: int | None = None
    reason: str | None = None
    applied: Mapping[str, int] | None = None


Record: TypeAlias = Write | Read | Heard | Fault | Action | Evaluated
Ending: TypeAlias = Final | FinalProposal


def save(path: Path, records: Iterable[Record | Ending]) -> None:
    with path.open("wb") as file:
        for record in records:
            file.write(msgspec.json.encode(record) + b"\n")


def load(path: Path) -> tuple[list[Record], list[Ending]]:
    lines = [
        msgspec.json.decode(line, type=Record | Ending) for line in path.read_bytes().splitlines()
    ]
    endings = [line for line in lines if isinstance(line, Ending)]
    return [line for line in lines if not isinstance(line, Ending)], endings
