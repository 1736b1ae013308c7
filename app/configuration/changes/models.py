"""What a change set is made of."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from app.environments.models import Properties
from app.errors import Invalid, Violation
from app.http.conditions import ExpectedVersion
from app.secrets.models import Sealed

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


ABSENT = ExpectedVersion()


@dataclass(frozen=True, kw_only=True)
class Content:
    """What an entry holds, apart from its key. `value` is any JSON value, null included.

    A secret has a value on its way in, and when it is revealed; all else is `sealed`, with no
    value. Neither shows in a representation.
    """

    kind: Kind
    value: Any = field(repr=False)
    sealed: Sealed | None = None
    schema: dict[str, Any] | None = None
    description: str | None = None


@dataclass(frozen=True, kw_only=True)
class Operation:
    """Put a content under a key, or delete the key when there is none.

    `expected` None means whatever is there: for commands that show the outcome, never for HTTP.
    `is_lenient` allows a flag or segment that cannot be evaluated, as flagd does. `refusal` is the
    error for one that breaks rules of its format, unless the same one is stored already.
    """

    key: str
    content: Content | None
    expected: ExpectedVersion | None
    is_lenient: bool = False
    refusal: Invalid | None = None


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A key as the change set found it; `content` None when there was nothing."""

    key: str
    content: Content | None
    version: int | None
    last_version: int


@dataclass(frozen=True, kw_only=True)
class Change:
    """One key, before and after; `version` is the new one, None after a deletion."""

    key: str
    before: Entry
    after: Content | None
    version: int | None


@dataclass(frozen=True, kw_only=True)
class PropertiesChange:
    """The environment's own properties, before and after."""

    before: Properties
    after: Properties


@dataclass(frozen=True, kw_only=True)
class ChangeSet:
    """A change set that is made but not committed yet; committed when the transaction is.

    `warnings` are the rules that its lenient operations break.
    """

    environment: str
    revision: int
    epoch: str
    changes: list[Change] = field(default_factory=list)
    properties: PropertiesChange | None = None
    warnings: Sequence[Violation] = ()
