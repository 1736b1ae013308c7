"""Change sets on the wire: what is sent, and what is answered."""

from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec

from app.changes.models import MESSAGE_MAX, ChangeSet, Content, PropertiesChange
from app.changes.patch import patch_between
from app.changes.properties import Fractional, without_version
from app.environments.models import Properties
from app.naming import ENVIRONMENT_PATTERN, KEY_PATTERN

OPERATIONS_MAX = 1_000
# Told and not checked: the check names every wrong key at once.
Key = Annotated[str, msgspec.Meta(extra_json_schema={"pattern": KEY_PATTERN})]
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


class EntryView(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An entry at one moment. `sealed` is there for a secret, whose value is never told here."""

    kind: str
    value: Any
    sealed: bool = False
    schema: dict[str, Any] | None
    description: str | None
    version: int


class ChangeView(msgspec.Struct, frozen=True, kw_only=True):
    """A key before and after; null where it was not there. `patch` is RFC 6902, on the value."""

    key: str
    before: EntryView | None
    after: EntryView | None
    patch: list[dict[str, Any]]


class PropertiesView(msgspec.Struct, frozen=True, kw_only=True):
    """The environment's own properties; `patch` (RFC 6902) leads from one to the other."""

    before: Properties
    after: Properties
    patch: list[dict[str, Any]]


class ChangeSetView(msgspec.Struct, frozen=True, kw_only=True):
    """`hash`, in hex, covers all of it and the one before."""

    environment: str
    revision: int
    kind: str
    actor: str
    message: str
    created_at: datetime
    hash: str | None
    changes: list[ChangeView]
    properties: PropertiesView | None


class ChangeSetPage(msgspec.Struct, frozen=True, kw_only=True):
    """The latest first. `next` is what to give as `before` for older ones, null at the end."""

    items: list[ChangeSetView]
    next: int | None


class KeyChange(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a key's history."""

    revision: int
    kind: str
    actor: str
    message: str
    created_at: datetime
    before: EntryView | None
    after: EntryView | None


class KeyHistory(msgspec.Struct, frozen=True, kw_only=True):
    items: list[KeyChange]
    next: int | None


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """What leads from one state to another, by key; `properties` null when they are the same."""

    changes: list[ChangeView]
    properties: PropertiesView | None


class MadeChangeSet(msgspec.Struct, frozen=True, kw_only=True):
    environment: str
    revision: int
    epoch: str
    changes: list[ChangeView]
    # Kept answers of earlier releases have none.
    properties: PropertiesView | None = None


class MadeChangeSets(msgspec.Struct, frozen=True, kw_only=True):
    """What a write of several keys answers. After a dry run nothing of it has happened."""

    change_sets: list[MadeChangeSet]
    dry_run: bool = False


def entry_view(content: Content | None, version: int | None) -> EntryView | None:
    if content is None or version is None:
        return None
    return EntryView(
        kind=content.kind,
        value=content.value,
        sealed=content.sealed is not None,
        schema=content.schema,
        description=content.description,
        version=version,
    )


def change_view(key: str, before: EntryView | None, after: EntryView | None) -> ChangeView:
    told = before and after and not before.sealed and not after.sealed
    patch = patch_between(before.value, after.value) if told and before and after else []
    return ChangeView(key=key, before=before, after=after, patch=patch)


def properties_view(change: PropertiesChange) -> PropertiesView:
    patch = patch_between(without_version(change.before), without_version(change.after))
    return PropertiesView(before=change.before, after=change.after, patch=patch)


def made_view(change_set: ChangeSet) -> MadeChangeSet:
    return MadeChangeSet(
        environment=change_set.environment,
        revision=change_set.revision,
        epoch=change_set.epoch,
        changes=[
            change_view(
                change.key,
                entry_view(change.before.content, change.before.version),
                entry_view(change.after, change.version),
            )
            for change in change_set.changes
        ],
        properties=properties_view(change_set.properties) if change_set.properties else None,
    )


def without_before(made: MadeChangeSets) -> MadeChangeSets:
    """Return the same for a token that may write and not read: what it did not send is left out."""
    replace = msgspec.structs.replace
    return replace(
        made,
        change_sets=[
            replace(
                each,
                changes=[replace(c, before=None, patch=[]) for c in each.changes],
                # What came of a patch holds what was there before it.
                properties=None,
            )
            for each in made.change_sets
        ],
    )
