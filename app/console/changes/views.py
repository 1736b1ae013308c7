"""Plain data of change sets for the templates.

Its functions run in a thread, because values may be large.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from aiohttp import web
from msgspec import UNSET

from app.configuration.changes.authority import PROPERTIES
from app.configuration.changes.models import ChangeKind, Kind
from app.configuration.changes.properties import without_version
from app.configuration.changes.views import (
    AppliedChangeSet,
    AppliedChangeSets,
    ChangeSetView,
    ChangeView,
    Difference,
    EntryView,
    KeyChange,
    PropertiesChangeView,
    approval_words,
)
from app.console.actors import NamedActor, actor_of
from app.console.entry_pages import page_of_kind
from app.console.json_text import DiffLine, diff
from app.flags.change_words.entries import describe_change, describe_changes, describe_properties
from app.flags.change_words.sentences import Sentence, Tense
from app.flags.proposals.views import EnvironmentPreview

# Sentences for each change set in a list.
_LISTED_MAX = 4
# Lines of JSON for each key of a change set.
_LINES_MAX = 300


@dataclass(frozen=True, kw_only=True)
class ChangeSetRow:
    """A change set, or one change of a key, in a list. `keys` are the first that it changed."""

    revision: int
    keys: Sequence[str]
    kind: str
    author: NamedActor
    message: str
    created_at: datetime
    approval: str
    is_emergency: bool
    sentences: Sequence[Sentence]

    @property
    def title(self) -> str:
        """The message. A revert without a message of its own has one that reads as a command."""
        if self.kind == ChangeKind.REVERT and self.message.startswith("Revert revision "):
            return f"Revision {self.revision}: reverted {self.message.removeprefix('Revert ')}"
        return self.message or f"Revision {self.revision}"


@dataclass(frozen=True, kw_only=True)
class EntryChange:
    """A key of a change set, in words and as JSON. `page` is the page of the entry if it exists."""

    key: str
    kind: str
    page: str
    exists: bool
    sentences: Sequence[Sentence]
    lines: Sequence[DiffLine]


@dataclass(frozen=True, kw_only=True)
class ChangeSetDetails:
    """The shown changes of a change set, and the number of all its keys."""

    changes: Sequence[EntryChange]
    properties: Sequence[Sentence]
    property_lines: Sequence[DiffLine]
    count: int


def change_set_row(request: web.Request, change_set: ChangeSetView) -> ChangeSetRow:
    hidden = change_set.changes_count - len(change_set.changes)
    sentences = describe_changes(
        change_set.changes, change_set.properties, limit=_LISTED_MAX, hidden=hidden
    )
    keys = [change.key for change in change_set.changes]
    keys += [PROPERTIES] if change_set.properties is not None else []
    return _row(request, change_set, keys, sentences)


def key_change_row(request: web.Request, key: str, change: KeyChange) -> ChangeSetRow:
    return _row(request, change, [key], describe_change(key, change.before, change.after))


def change_set_details(
    changed: ChangeSetView | AppliedChangeSet | EnvironmentPreview, tense: Tense = Tense.PAST
) -> ChangeSetDetails:
    return _details(changed.changes, changed.properties, changed.changes_count or 0, tense)


def difference_details(difference: Difference, tense: Tense) -> ChangeSetDetails:
    return _details(difference.changes, difference.properties, len(difference.changes), tense)


def planned_details(planned: AppliedChangeSets) -> ChangeSetDetails:
    """Return the changes that a dry run found, all in one environment."""
    if planned.change_sets:
        return change_set_details(planned.change_sets[0], Tense.PLANNED)
    return _details([], None, 0, Tense.PLANNED)


def _details(
    changes: Sequence[ChangeView],
    properties: PropertiesChangeView | None,
    count: int,
    tense: Tense,
) -> ChangeSetDetails:
    return ChangeSetDetails(
        changes=[_entry_change(change, tense) for change in changes],
        properties=[] if properties is None else describe_properties(properties, tense=tense),
        property_lines=[] if properties is None else _property_lines(properties),
        count=count,
    )


def page_of_key(changes: Sequence[KeyChange]) -> str:
    """Return the group of pages that shows a key, by its latest change."""
    entry = changes[0].after or changes[0].before if changes else None
    return page_of_kind(entry.kind if entry is not None else Kind.SETTING)


def _row(
    request: web.Request,
    change: ChangeSetView | KeyChange,
    keys: Sequence[str],
    sentences: Sequence[Sentence],
) -> ChangeSetRow:
    return ChangeSetRow(
        revision=change.revision,
        keys=keys,
        kind="" if change.kind == ChangeKind.EDIT else change.kind,
        author=actor_of(request, change.actor, change.actor_name),
        message=change.message,
        created_at=change.created_at,
        approval=approval_words(change.approval),
        is_emergency=change.approval is not None and change.approval.emergency,
        sentences=sentences,
    )


def _entry_change(change: ChangeView, tense: Tense) -> EntryChange:
    entry = change.after or change.before
    kind = entry.kind if entry is not None else Kind.SETTING
    return EntryChange(
        key=change.key,
        kind=kind,
        page=page_of_kind(kind),
        exists=change.after is not None,
        sentences=describe_change(change.key, change.before, change.after, tense=tense),
        lines=_lines(*_compared(change)),
    )


def _compared(change: ChangeView) -> tuple[Any, Any]:
    """Return the values, or with a changed schema or description all members of the entry."""
    before, after = change.before, change.after
    has_other_members = (
        before is not None
        and after is not None
        and (before.description, before.schema, before.kind)
        != (after.description, after.schema, after.kind)
    )
    return tuple(_document(entry, is_whole=has_other_members) for entry in (before, after))


def _document(entry: EntryView | None, *, is_whole: bool) -> Any:
    if entry is None or (entry.sealed and not is_whole):
        return UNSET
    if not is_whole:
        return entry.value
    value = {} if entry.sealed else {"value": entry.value}
    others = {"kind": entry.kind, "description": entry.description, "schema": entry.schema}
    return {name: member for name, member in others.items() if member is not None} | value


def _property_lines(properties: PropertiesChangeView) -> list[DiffLine]:
    return _lines(without_version(properties.before), without_version(properties.after))


def _lines(before: Any, after: Any) -> list[DiffLine]:
    """Return the JSON lines that differ, the first ones of many."""
    lines = diff(before, after)
    if lines is None:
        return [DiffLine("…", "too many lines to compare")]
    if len(lines) <= _LINES_MAX:
        return lines
    return [*lines[:_LINES_MAX], DiffLine("…", f"{len(lines) - _LINES_MAX:,} more lines")]
