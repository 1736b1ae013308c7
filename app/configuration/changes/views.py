"""The JSON shapes of change sets in responses."""

from collections.abc import Sequence
from datetime import datetime
from itertools import accumulate
from typing import Any

import msgspec

from app.access.models import Scope
from app.access.permissions import Keys, Rights
from app.configuration.changes.json_patch import patch_between
from app.configuration.changes.models import Change, ChangeSet, Content, PropertiesChange
from app.configuration.changes.offload import run_by_size
from app.configuration.changes.properties import without_version
from app.environments.models import Properties
from app.environments.protection import Approval

# The limits of the changes in one response.
CHANGES_MAX = 100
CHANGES_BYTES_MAX = 1024 * 1024


class EntryView(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An entry at one moment. A secret has `sealed` true and the value null."""

    kind: str
    value: Any
    sealed: bool = False
    schema: dict[str, Any] | None
    description: str | None
    version: int


class ChangeView(msgspec.Struct, frozen=True, kw_only=True):
    """A key before and after; null when it did not exist. `patch` (RFC 6902) is of the value."""

    key: str
    before: EntryView | None
    after: EntryView | None
    patch: list[dict[str, Any]]


class PropertiesChangeView(msgspec.Struct, frozen=True, kw_only=True):
    """The environment's properties before and after, and the `patch` (RFC 6902) between them."""

    before: Properties
    after: Properties
    patch: list[dict[str, Any]]


class ApprovalView(Approval, frozen=True, kw_only=True, omit_defaults=True):
    """What allowed a change set. `approver_names` are in the order of `approvers`."""

    approver_names: tuple[str, ...] = ()


class ChangeSetView(msgspec.Struct, frozen=True, kw_only=True):
    """A change set, with the keys that the caller may read.

    `hash`, in hex, covers it and all change sets before it.

    `changes` has the first of `changes_count` changes. Read the change set with `after` = `next`
    for more; `next` is null at the end.
    """

    environment: str
    revision: int
    kind: str
    actor: str
    actor_name: str = ""
    message: str
    created_at: datetime
    hash: str | None
    changes: list[ChangeView]
    changes_count: int
    next: str | None
    properties: PropertiesChangeView | None
    approval: ApprovalView | None = None


class ChangeSetPage(msgspec.Struct, frozen=True, kw_only=True):
    """Change sets, the latest first. Send `next` as `before` for older ones; null at the end."""

    items: list[ChangeSetView]
    next: int | None


class KeyChange(msgspec.Struct, frozen=True, kw_only=True):
    """One change in the history of a key."""

    revision: int
    kind: str
    actor: str
    actor_name: str = ""
    message: str
    created_at: datetime
    before: EntryView | None
    after: EntryView | None
    approval: ApprovalView | None = None


class KeyHistory(msgspec.Struct, frozen=True, kw_only=True):
    items: list[KeyChange]
    next: int | None


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """The changes from one state to another, by key. `properties` is null when they are equal.

    Send `next` as `after` for more changes; it is null at the end.
    """

    changes: list[ChangeView]
    next: str | None
    properties: PropertiesChangeView | None


class AppliedChangeSet(msgspec.Struct, frozen=True, kw_only=True):
    """The change set of a write in one environment: its first changes and their total number.

    `approval_required`: the environment is protected, and the write would need more approvals.
    Read the change set with `after` = `next` for more; `next` is null at the end.
    """

    environment: str
    revision: int
    epoch: str
    changes: list[ChangeView]
    # Stored responses of earlier releases lack the following members.
    changes_count: int | None = None
    next: str | None = None
    properties: PropertiesChangeView | None = None
    approval: Approval | None = None
    approval_required: bool = False


class AppliedChangeSets(msgspec.Struct, frozen=True, kw_only=True):
    """The change sets of a write. After a dry run, none of them is stored."""

    change_sets: list[AppliedChangeSet]
    dry_run: bool = False


def approval_words(approval: ApprovalView | None) -> str:
    """Return what allowed a change set, for people. Empty if it needed no approval."""
    if approval is None:
        return ""
    if approval.emergency:
        of_proposal = f", proposal {approval.proposal}" if approval.proposal else ""
        return f"emergency, without approval{of_proposal}"
    # An answer of an earlier release has no names.
    approvers = approval.approver_names or approval.approvers
    return f"proposal {approval.proposal}, approved by {', '.join(approvers) or '-'}"


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
    is_clear = before and after and not before.sealed and not after.sealed
    patch = patch_between(before.value, after.value) if is_clear and before and after else []
    return ChangeView(key=key, before=before, after=after, patch=patch)


def properties_view(change: PropertiesChange) -> PropertiesChangeView:
    patch = patch_between(without_version(change.before), without_version(change.after))
    return PropertiesChangeView(before=change.before, after=change.after, patch=patch)


async def made_view(change_set: ChangeSet) -> AppliedChangeSet:
    """Return the view of a change set. Raises Unavailable."""
    return await run_by_size(change_set.changes, "view", lambda: _made_view(change_set))


def _made_view(change_set: ChangeSet) -> AppliedChangeSet:
    changes = _first(change_set.changes)
    is_whole = len(changes) == len(change_set.changes)
    return AppliedChangeSet(
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
        approval=change_set.approval,
        approval_required=change_set.approval_required,
    )


def _first(changes: Sequence[Change]) -> Sequence[Change]:
    """Return the changes, or the first by key when they exceed the limits of a response."""
    if len(changes) > CHANGES_MAX or sum(change.size for change in changes) > CHANGES_BYTES_MAX:
        changes = sorted(changes, key=lambda change: change.key)[:CHANGES_MAX]
        sizes = accumulate(change.size for change in changes)
        changes = changes[: max(1, sum(size <= CHANGES_BYTES_MAX for size in sizes))]
    return changes


def readable(written: AppliedChangeSets, rights: Rights) -> AppliedChangeSets:
    """Return the change sets without the state before of what the caller may not read."""
    change_sets = [
        _readable(item, rights.keys(Scope.READ, item.environment)) for item in written.change_sets
    ]
    return msgspec.structs.replace(written, change_sets=change_sets)


def _readable(change_set: AppliedChangeSet, keys: Keys) -> AppliedChangeSet:
    if keys.is_all:
        return change_set
    replace = msgspec.structs.replace
    return replace(
        change_set,
        changes=readable_changes(change_set.changes, keys),
        # The patched properties include members from before.
        properties=change_set.properties if keys else None,
    )


def readable_changes(changes: Sequence[ChangeView], keys: Keys) -> list[ChangeView]:
    """Return the changes, without the state before of keys that the caller may not read."""
    return [
        change if change.key in keys else msgspec.structs.replace(change, before=None, patch=[])
        for change in changes
    ]
