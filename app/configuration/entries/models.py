"""Configurations in requests and responses."""

from typing import Annotated, Any, Literal

import msgspec

from app.configuration.changes.models import MESSAGE_MAX
from app.configuration.snapshots.snapshot import Configuration
from app.environments.protection import Approval


class NewConfiguration(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An entry to store. It replaces the whole entry: a property that it lacks gets its default."""

    value: Any
    kind: Literal["setting", "flag", "segment", "secret"] = "setting"
    schema: dict[str, Any] | None = None
    description: Annotated[str, msgspec.Meta(max_length=2_000)] | None = None
    message: Annotated[str, msgspec.Meta(max_length=MESSAGE_MAX)] = ""


class ConfigurationPage(msgspec.Struct, frozen=True, kw_only=True):
    """A page in the order of keys. Send `next` as `after` for the next page; null at the end."""

    items: list[Configuration]
    next: str | None
    revision: int


class WriteResult(msgspec.Struct, frozen=True, kw_only=True):
    """The result of a write. `version` is null after a deletion.

    `approval_required`: the environment is protected, and the write would need more approvals.
    """

    environment: str
    key: str
    version: int | None
    revision: int
    epoch: str
    created: bool
    dry_run: bool = False
    approval: Approval | None = None
    approval_required: bool = False
