"""Change sets as they are asked for."""

from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec

from app.configuration.changes.models import MESSAGE_MAX
from app.configuration.changes.properties import Fractional
from app.names import ENVIRONMENT_PATTERN, KEY_LENGTH_MAX, KEY_PATTERN

OPERATIONS_MAX = 1_000
# Told and not checked: the check names every wrong key at once.
Key = Annotated[
    str, msgspec.Meta(extra_json_schema={"pattern": KEY_PATTERN, "maxLength": KEY_LENGTH_MAX})
]
Message = Annotated[str, msgspec.Meta(max_length=MESSAGE_MAX)]
Version = Annotated[int, msgspec.Meta(ge=0)]


class PutOperation(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="put", tag_field="op"
):
    """Write one key. `version` is the one that is expected; 0 says that there must be none."""

    key: Key
    version: Version
    value: Any
    kind: Literal["setting", "flag", "segment", "secret"] = "setting"
    schema: dict[str, Any] | None = None
    description: Annotated[str, msgspec.Meta(max_length=2_000)] | None = None
    environment: str | None = None


class DeleteOperation(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    tag="delete",
    tag_field="op",
):
    key: Key
    version: Annotated[int, msgspec.Meta(ge=1)]
    environment: str | None = None


# Told and not checked: the check names every wrong member.
MetadataPatch = Annotated[
    dict[str, Any],
    msgspec.Meta(
        extra_json_schema={
            "additionalProperties": {"type": ["string", "number", "boolean", "null"]}
        }
    ),
]


class PatchOperation(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    tag="patch",
    tag_field="op",
):
    """Change what the environment says of itself, by a merge patch (RFC 7396) of its properties.

    `version` is that of the environment. It may come once for each.
    """

    version: Annotated[int, msgspec.Meta(ge=1)]
    metadata: MetadataPatch | None = {}
    fractional: Fractional | msgspec.UnsetType = msgspec.UNSET
    protected: bool | msgspec.UnsetType = msgspec.UNSET
    environment: str | None = None


class NewPatch(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A merge patch (RFC 7396) of an environment's properties, and why.

    Members of `metadata` are merged, those that are null go.
    """

    metadata: MetadataPatch | None = {}
    fractional: Fractional | msgspec.UnsetType = msgspec.UNSET
    protected: bool | msgspec.UnsetType = msgspec.UNSET
    message: Message = ""


class NewEnvironment(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Its name and tier never change, the rest can be patched."""

    name: Annotated[str, msgspec.Meta(extra_json_schema={"pattern": ENVIRONMENT_PATTERN})]
    tier: Literal["local", "development", "staging", "production"]
    metadata: MetadataPatch = {}
    fractional: Fractional = "v3"
    protected: bool = False
    message: Message = ""


class NewChangeSet(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of a POST. An operation may name another environment; then all succeed or none."""

    operations: Annotated[
        list[PutOperation | DeleteOperation | PatchOperation],
        msgspec.Meta(min_length=1, max_length=OPERATIONS_MAX),
    ]
    message: Message = ""


class NewRevert(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    message: Message = ""


class NewRestore(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """To which moment: a revision or a time, one of the two."""

    revision: Version | None = None
    at: Annotated[datetime, msgspec.Meta(tz=True)] | None = None
    message: Message = ""


class NewPromotion(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename={"source": "from"}
):
    """`keys` are made equal to the environment `from`; what it does not have is deleted."""

    source: str
    keys: Annotated[list[Key], msgspec.Meta(min_length=1, max_length=OPERATIONS_MAX)]
    message: Message = ""
