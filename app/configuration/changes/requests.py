"""The JSON shapes of change sets and environments in requests."""

from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec

from app.configuration.changes.models import MESSAGE_MAX
from app.configuration.changes.properties import Fractional, ProtectionPatch
from app.environments.protection import Protection
from app.names import ENVIRONMENT_PATTERN, KEY_LENGTH_MAX, KEY_PATTERN, PREFIXES_MAX

OPERATIONS_MAX = 1_000
# For the documentation only: the validation of operations names every wrong key at once.
Key = Annotated[
    str, msgspec.Meta(extra_json_schema={"pattern": KEY_PATTERN, "maxLength": KEY_LENGTH_MAX})
]
Message = Annotated[str, msgspec.Meta(max_length=MESSAGE_MAX)]
Version = Annotated[int, msgspec.Meta(ge=0)]


class _Body(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A part of a request's body. Subclasses inherit these options."""


class PutOperation(_Body, frozen=True, kw_only=True, tag="put", tag_field="op"):
    """Write one key. `version` is the expected version; 0 means that the key has no entry."""

    key: Key
    version: Version
    value: Any
    kind: Literal["setting", "flag", "segment", "secret"] = "setting"
    schema: dict[str, Any] | None = None
    description: Annotated[str, msgspec.Meta(max_length=2_000)] | None = None
    environment: str | None = None


class DeleteOperation(_Body, frozen=True, kw_only=True, tag="delete", tag_field="op"):
    key: Key
    version: Annotated[int, msgspec.Meta(ge=1)]
    environment: str | None = None


# For the documentation only: `check_members` names every wrong member.
MetadataPatch = Annotated[
    dict[str, Any],
    msgspec.Meta(
        extra_json_schema={
            "additionalProperties": {"type": ["string", "number", "boolean", "null"]}
        }
    ),
]


class PatchOperation(_Body, frozen=True, kw_only=True, tag="patch", tag_field="op"):
    """Change the properties of the environment by a merge patch (RFC 7396).

    `version` is the version of the environment. Each environment may have one such operation.
    """

    version: Annotated[int, msgspec.Meta(ge=1)]
    metadata: MetadataPatch | None = {}
    fractional: Fractional | msgspec.UnsetType = msgspec.UNSET
    protected: bool | msgspec.UnsetType = msgspec.UNSET
    protection: ProtectionPatch | msgspec.UnsetType | None = msgspec.UNSET
    environment: str | None = None


AnyOperation = PutOperation | DeleteOperation | PatchOperation


class EnvironmentPatch(_Body, frozen=True, kw_only=True):
    """A merge patch (RFC 7396) of an environment's properties, and a message for the history.

    Members of `metadata` and `protection` are merged. A member that is null is removed.
    """

    metadata: MetadataPatch | None = {}
    fractional: Fractional | msgspec.UnsetType = msgspec.UNSET
    protected: bool | msgspec.UnsetType = msgspec.UNSET
    protection: ProtectionPatch | msgspec.UnsetType | None = msgspec.UNSET
    message: Message = ""


class NewEnvironment(_Body, frozen=True, kw_only=True):
    """The name and the tier never change. All else can be patched."""

    name: Annotated[str, msgspec.Meta(extra_json_schema={"pattern": ENVIRONMENT_PATTERN})]
    tier: Literal["local", "development", "staging", "production"]
    metadata: MetadataPatch = {}
    fractional: Fractional = "v3"
    protected: bool = False
    protection: Protection | None = None
    message: Message = ""


class NewChangeSet(_Body, frozen=True, kw_only=True):
    """Operations of one transaction. An operation may name another environment."""

    operations: Annotated[
        list[AnyOperation],
        msgspec.Meta(min_length=1, max_length=OPERATIONS_MAX),
    ]
    message: Message = ""


# To change only keys that begin with one of them. The empty list and the empty prefix are for all
# keys, and so for the properties too.
Prefixes = Annotated[
    list[Annotated[str, msgspec.Meta(max_length=KEY_LENGTH_MAX)]],
    msgspec.Meta(max_length=PREFIXES_MAX),
]


class RevertRequest(_Body, frozen=True, kw_only=True):
    """With `prefixes`, only keys that begin with one of them are reverted, and no properties.

    The empty prefix is for all keys and the properties.
    """

    prefixes: Prefixes = []
    message: Message = ""


class RestoreRequest(_Body, frozen=True, kw_only=True):
    """The moment to restore: either a revision or a time.

    With `prefixes`, only keys that begin with one of them are restored, and no properties. The
    empty prefix is for all keys and the properties.
    """

    revision: Version | None = None
    at: Annotated[datetime, msgspec.Meta(tz=True)] | None = None
    prefixes: Prefixes = []
    message: Message = ""


class PromotionRequest(_Body, frozen=True, kw_only=True, rename={"source": "from"}):
    """Make `keys` equal to the environment `from`. Keys that it does not have are deleted."""

    source: str
    keys: Annotated[list[Key], msgspec.Meta(min_length=1, max_length=OPERATIONS_MAX)]
    message: Message = ""
