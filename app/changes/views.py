"""Change sets as they are answered."""

from datetime import datetime
from typing import Any

import msgspec

from app.changes.models import ChangeSet, Content, PropertiesChange
from app.changes.patch import patch_between
from app.changes.properties import without_version
from app.environments.models import Properties


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
