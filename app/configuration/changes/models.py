"""The parts of a change set: operations, contents, entries, changes."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from functools import cached_property
from typing import Any

import msgspec

from app.environments.models import Properties
from app.environments.protection import Approval
from app.errors import Invalid, Violation
from app.http.conditions import ExpectedVersion
from app.secrets.envelope import Sealed

ENTRIES_MAX = 10_000
MESSAGE_MAX = 1_000


class Kind(StrEnum):
    SETTING = "setting"
    FLAG = "flag"
    SEGMENT = "segment"
    SECRET = "secret"  # noqa: S105 - a kind


class ChangeKind(StrEnum):
    EDIT = "edit"
    REVERT = "revert"
    RESTORE = "restore"
    PROMOTE = "promote"
    IMPORT = "import"
    SCHEDULED = "scheduled"
    DELETE = "delete"
    PROPOSAL = "proposal"


ABSENT = ExpectedVersion()


@dataclass(frozen=True, kw_only=True)
class Content:
    """The content of an entry. `value` is any JSON value, including null.

    A stored secret has `sealed` and no value. A secret that was just received or revealed has a
    value. `repr` shows neither.
    """

    kind: Kind
    value: Any = field(repr=False)
    sealed: Sealed | None = None
    schema: dict[str, Any] | None = None
    description: str | None = None

    @classmethod
    def of(cls, entry: Any) -> "Content":
        """Return the content of an entry in a request, a file or a snapshot."""
        return cls(
            kind=Kind(entry.kind),
            value=entry.value,
            schema=entry.schema,
            description=entry.description,
        )


@dataclass(frozen=True, kw_only=True)
class Operation:
    """Store a content under a key, or delete the key when the content is None.

    `expected` None matches every version; only the command line uses it. `is_lenient` allows a flag
    or segment that cannot be evaluated, as flagd does. `refusal` is the error for a content that
    breaks its format; it is raised unless the same value is already stored. `has_list_values` says
    that the content names a list whose values are a part of the same write.
    """

    key: str
    content: Content | None
    expected: ExpectedVersion | None
    is_lenient: bool = False
    refusal: Invalid | None = None
    has_list_values: bool = False


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A key before the change set. `content` is None when the key has no entry."""

    key: str
    content: Content | None
    version: int | None
    last_version: int


@dataclass(frozen=True, kw_only=True)
class Change:
    """One key before and after. `version` is the new version, None after a deletion."""

    key: str
    before: Entry
    after: Content | None
    version: int | None

    @cached_property
    def size(self) -> int:
        """The approximate size in bytes, which decides where work on the change runs."""
        return sum(
            len(msgspec.json.encode(content.value))
            + len(content.sealed.content if content.sealed else b"")
            for content in (self.before.content, self.after)
            if content is not None
        )


@dataclass(frozen=True, kw_only=True)
class PropertiesChange:
    """The environment's properties before and after."""

    before: Properties
    after: Properties


@dataclass(frozen=True, kw_only=True)
class Link:
    """The part of a change set that its hash covers."""

    environment: str
    revision: int
    kind: ChangeKind
    actor: str
    message: str
    created_at: datetime
    changes: list[Change] = field(default_factory=list)
    properties: PropertiesChange | None = None
    approval: Approval | None = None


@dataclass(frozen=True, kw_only=True)
class ChangeSet(Link):
    """A change set that the caller commits. `warnings` come from lenient operations.

    `approval_required` is true only in a dry run: the write would need more approvals, or its
    author may only propose it. `lacking` has the protected keys that lack approvals.
    """

    epoch: str
    hash: bytes
    warnings: Sequence[Violation] = ()
    approval_required: bool = False
    lacking: Sequence[str] = ()
