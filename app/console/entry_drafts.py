"""A draft of an entry: what changes, and what another person changed meanwhile.

A draft names the version on which it is based. So a change that came in between is shown beside
the draft, and merged into it only when the person asks for that.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from aiohttp import web
from msgspec import UNSET

from app.configuration.changes import history
from app.configuration.changes.json_patch import are_equal
from app.configuration.changes.models import Kind
from app.configuration.changes.views import EntryView, KeyChange
from app.configuration.snapshots.reading import FOLLOWER, own_snapshot
from app.configuration.snapshots.snapshot import Configuration, Snapshot
from app.console.actors import NamedActor, actor_of
from app.console.json_text import DiffLine, diff
from app.errors import NotFound
from app.flags.change_words.entries import describe_change
from app.flags.change_words.sentences import Sentence, Tense
from app.http.keys import DATABASE
from app.threads import in_turn

# More changes since the base of a draft are not shown one by one.
_CHANGES_MAX = 20


@dataclass(frozen=True, kw_only=True)
class PendingChange:
    """The change from one content to another. `lines` None means that there are too many."""

    sentences: Sequence[Sentence]
    lines: Sequence[DiffLine] | None

    def __bool__(self) -> bool:
        return bool(self.sentences)


@dataclass(frozen=True, kw_only=True)
class DraftConflict:
    """What others changed since the base of a draft. `current` None means that they deleted it.

    `authors` has each actor of `changes`, by ID.
    """

    authors: Mapping[str, NamedActor]
    base: EntryView | None
    current: EntryView | None
    changes: Sequence[KeyChange]
    theirs: PendingChange


def view_of(entry: Configuration) -> EntryView:
    """Return the content of an entry as the history has it."""
    return EntryView(
        kind=entry.kind,
        value=entry.value,
        sealed=entry.sealed,
        schema=entry.schema,
        description=entry.description,
        version=entry.version,
    )


def current_of(snapshot: Snapshot, key: str) -> EntryView | None:
    """Return the content of an entry in a snapshot, None when it does not exist."""
    entry = snapshot.entries.get(key)
    return None if entry is None else view_of(entry.configuration)


async def pending_change(
    key: str,
    before: EntryView | None,
    after: EntryView | None,
    *,
    tense: Tense = Tense.PLANNED,
) -> PendingChange:
    """Return what differs, in words and in lines. Another person's change is in the past tense."""
    return await in_turn("diff", lambda: _pending_change(key, before, after, tense))


def _pending_change(
    key: str, before: EntryView | None, after: EntryView | None, tense: Tense
) -> PendingChange:
    if before is not None and after is not None and has_same_content(before, after):
        return PendingChange(sentences=(), lines=())
    old, new = (_shown_value(view) for view in (before, after))
    lines = () if are_same_json(old, new) else diff(old, new)
    sentences = describe_change(key, before, after, tense=tense)
    return PendingChange(sentences=sentences, lines=lines)


def _shown_value(view: EntryView | None) -> Any:
    return UNSET if view is None or view.kind == Kind.SECRET else view.value


def has_same_content(left: EntryView, right: EntryView) -> bool:
    """Return whether two contents are the same. Two secrets are the same in the same version."""
    return (
        left.kind == right.kind
        and are_equal(left.value, right.value)
        and are_equal(left.schema, right.schema)
        and left.description == right.description
        and (not left.sealed or left.version == right.version)
    )


def are_same_json(left: Any, right: Any) -> bool:
    return left is right or (UNSET not in (left, right) and are_equal(left, right))


async def find_base(
    request: web.Request, snapshot: Snapshot, key: str, version: int
) -> tuple[EntryView | None, DraftConflict | None]:
    """Return the entry on which a draft is based, and what others changed since.

    Raises NotFound when the base and the entry do not exist, and Unavailable when the history
    cannot be read.
    """
    current = current_of(snapshot, key)
    if version == (current.version if current is not None else 0):
        return current, None
    conflict = await _find_conflict(request, key, version, current)
    if conflict.base is None and current is None:
        raise NotFound("configuration_unknown", "There is no such configuration.")
    return conflict.base or current, conflict


async def newest_conflict(request: web.Request, key: str, version: int) -> DraftConflict:
    """Return the changes since a version, also those that this instance does not serve yet."""
    await request.app[FOLLOWER].try_refresh()
    current = current_of(own_snapshot(request, request.match_info["environment"]), key)
    return await _find_conflict(request, key, version, current)


async def _find_conflict(
    request: web.Request, key: str, version: int, current: EntryView | None
) -> DraftConflict:
    """Return the changes since a version. Raises Unavailable when the history cannot be read."""
    environment = request.match_info["environment"]
    changes: list[KeyChange] = []
    base: EntryView | None = None
    try:
        async with request.app[DATABASE].connection() as connection:
            page = await history.key_history(connection, environment, key, limit=_CHANGES_MAX)
    except NotFound:
        items: Sequence[KeyChange] = ()
    else:
        items = page.items
    for change in items:
        if change.after is not None and change.after.version == version:
            base = change.after
            break
        changes.append(change)
    theirs = await pending_change(key, base, current, tense=Tense.PAST)
    return DraftConflict(
        authors={item.actor: actor_of(request, item.actor, item.actor_name) for item in changes},
        base=base,
        current=current,
        changes=changes,
        theirs=theirs,
    )


def merged(base: EntryView | None, mine: EntryView, theirs: EntryView) -> EntryView:
    """Return my changes since the base, on top of their content."""
    if base is None:
        return msgspec.structs.replace(mine, version=theirs.version)
    description = mine.description if mine.description != base.description else theirs.description
    return msgspec.structs.replace(
        theirs,
        value=merged_json(base.value, mine.value, theirs.value),
        schema=merged_json(base.schema, mine.schema, theirs.schema),
        description=description,
    )


def merged_json(base: Any, mine: Any, theirs: Any) -> Any:
    """Merge two changes of a value, member by member. Mine decides where both changed the same."""
    if are_equal(mine, base):
        return theirs
    if not all(isinstance(value, dict) for value in (base, mine, theirs)):
        return mine
    members = {}
    for name in theirs | mine:
        values = [side.get(name, UNSET) for side in (base, mine, theirs)]
        value = _merged_member(*values)
        if value is not UNSET:
            members[name] = value
    return members


def _merged_member(base: Any, mine: Any, theirs: Any) -> Any:
    if are_same_json(mine, base):
        return theirs
    if UNSET in (base, mine, theirs):
        return mine
    return merged_json(base, mine, theirs)
