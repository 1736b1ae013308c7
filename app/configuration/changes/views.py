"""Change sets as they are answered."""

from collections.abc import Sequence
from datetime import datetime
from itertools import accumulate
from typing import Any

import msgspec

from app.configuration.changes.json_patch import patch_between
from app.configuration.changes.models import Change, ChangeSet, Content, PropertiesChange
from app.configuration.changes.offload import run_by_size, size_of
from app.configuration.changes.properties import without_version
from app.environments.models import Properties

# What one answer has of the changes of a change set.
CHANGES_MAX = 100
CHANGES_BYTES_MAX = 1024 * 1024


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
    """A change set. `hash`, in hex, covers all of it and the one before.

    `changes` are the first of `changes_count`. `next` is what to give as `after` for more of them,
    where one change set is read; null at the end.
    """

    environment: str
    revision: int
    kind: str
    actor: str
    message: str
    created_at: datetime
    hash: str | None
    changes: list[ChangeView]
    changes_count: int
    next: str | None
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
    """What leads from one state to another, by key; `properties` null when they are the same.

    `next` is what to give as `after` for more changes, null at the end.
    """

    changes: list[ChangeView]
    next: str | None
    properties: PropertiesView | None


class MadeChangeSet(msgspec.Struct, frozen=True, kw_only=True):
    """What a write did to one environment: the first changes, and how many there are in all.

    `next` is what to give as `after`, where the change set is read, for more of them.
    """

    environment: str
    revision: int
    epoch: str
    changes: list[ChangeView]
    # Kept answers of earlier releases have none of these.
    changes_count: int | None = None
    next: str | None = None
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


async def made_view(change_set: ChangeSet) -> MadeChangeSet:
    """Return the view, made in a thread when it is large. Raises Unavailable."""
    return await run_by_size(change_set.changes, "view", lambda: _made_view(change_set))


def _made_view(change_set: ChangeSet) -> MadeChangeSet:
    changes = _first(change_set.changes)
    is_whole = len(changes) == len(change_set.changes)
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
            for change in changes
        ],
        changes_count=len(change_set.changes),
        next=None if is_whole else changes[-1].key,
        properties=properties_view(change_set.properties) if change_set.properties else None,
    )


def _first(changes: Sequence[Change]) -> Sequence[Change]:
    """Return all changes, or the first by key where all are too many or too large for an answer."""
    if len(changes) > CHANGES_MAX or sum(map(size_of, changes)) > CHANGES_BYTES_MAX:
        changes = sorted(changes, key=lambda change: change.key)[:CHANGES_MAX]
        sizes = accumulate(map(size_of, changes))
        changes = changes[: max(1, sum(size <= CHANGES_BYTES_MAX for size in sizes))]
    return changes


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
