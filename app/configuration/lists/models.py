"""The JSON shapes of lists in requests and responses."""

from datetime import datetime
from typing import Annotated

import msgspec

from app.configuration.changes.models import MESSAGE_MAX
from app.configuration.lists.values import ListValue
from app.environments.protection import Approval

PATCHED_MAX = 10_000
Values = Annotated[list[str | ListValue], msgspec.Meta(max_length=PATCHED_MAX)]


class ListPatch(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Values to add and values to remove, at most 10,000 of each.

    To add a value that is there replaces its expiry. To remove one that is not there does nothing.
    """

    add: Values = []
    remove: Annotated[list[str], msgspec.Meta(max_length=PATCHED_MAX)] = []
    message: Annotated[str, msgspec.Meta(max_length=MESSAGE_MAX)] = ""


class ListResult(msgspec.Struct, frozen=True, kw_only=True):
    """The result of a change of a list: its count and digest, and what the change did.

    `expired` values had expired at least a day before, and left the list with this change.
    `repeated` are lines of an upload whose value an earlier line has. Without a difference there is
    no change set, and `revision` is the current one.
    """

    environment: str
    key: str
    version: int
    revision: int
    epoch: str
    created: bool
    count: int
    digest: str
    added: int
    removed: int
    expired: int = 0
    repeated: int = 0
    dry_run: bool = False
    approval: Approval | None = None
    approval_required: bool = False


class StoredValue(msgspec.Struct, frozen=True, kw_only=True):
    """A value of a list. `expires_at` is null for a value that stays."""

    value: str
    expires_at: datetime | None


class ListPage(msgspec.Struct, frozen=True, kw_only=True):
    """A page of values in a fixed order, which is not that of the alphabet.

    Send `next` as `after` for the next page; it is null at the end. `count` and `digest` are of the
    whole list.
    """

    items: list[StoredValue]
    next: str | None
    count: int
    digest: str
    version: int
    revision: int
