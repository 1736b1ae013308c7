"""The changes that others made to a flag while a draft of it was edited, and the rebased draft."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec
from aiohttp import web
from msgspec import UNSET

from app.configuration.changes.history import key_history
from app.configuration.changes.views import EntryView, KeyChange
from app.configuration.snapshots.snapshot import Configuration
from app.console.flag.definition import DraftResult
from app.console.flag.draft import FlagDraft
from app.console.flag.draft_reader import draft_of
from app.console.flag.values import encode
from app.console.forms import Form
from app.errors import NotFound
from app.evaluation.rule_tree import Targeting, TargetingRule
from app.evaluation.rule_writer import write
from app.flags.change_words.entries import describe_change
from app.flags.change_words.sentences import Sentence
from app.flags.merge import CHOICES, Choice, MergeConflict, merge
from app.flags.wording import describe
from app.http.keys import DATABASE

HISTORY_MAX = 100
# The name of a field with the choice for a part. Names with a space are no fields of the draft.
_CHOICE = "choice "


@dataclass(frozen=True, kw_only=True)
class TheirChange:
    change: KeyChange
    words: Sequence[Sentence]


@dataclass(frozen=True, kw_only=True)
class ConflictingPart:
    """A part to choose, as lines of text. `choice` is what was chosen before."""

    name: str
    field: str
    mine: Sequence[str]
    theirs: Sequence[str]
    may_be_both: bool
    choice: str


@dataclass(frozen=True, kw_only=True)
class FlagConflict:
    """The changes since the base of a draft, the latest first. `theirs` is None if deleted."""

    changes: Sequence[TheirChange]
    theirs: Configuration | None
    parts: Sequence[ConflictingPart] = ()


async def read_base(request: web.Request, entry: Configuration, version: int) -> Configuration:
    """Return the flag at the version from which a draft began. Raises NotFound."""
    if entry.version == version:
        return entry
    for change in await _history(request, entry.key):
        if change.after is not None and change.after.version == version:
            return _configuration(entry, change, change.after)
    text = f"Version {version} is not among the last {HISTORY_MAX} changes of this flag."
    raise NotFound("version_unknown", text)


async def read_conflict(request: web.Request, base: Configuration) -> FlagConflict:
    """Return the changes of others since the base."""
    changes: list[TheirChange] = []
    theirs: Configuration | None = base
    for change in await _history(request, base.key):
        if change.after is not None and change.after.version <= base.version:
            break
        if not changes:
            theirs = _configuration(base, change, change.after) if change.after else None
        words = describe_change(base.key, change.before, change.after)
        changes.append(TheirChange(change=change, words=words))
    return FlagConflict(changes=changes, theirs=theirs)


def rebase(
    draft: FlagDraft, result: DraftResult, base: Configuration, conflict: FlagConflict, form: Form
) -> tuple[FlagDraft, FlagConflict | None]:
    """Return the draft on top of their changes, or the parts that a person must choose."""
    theirs = conflict.theirs
    if theirs is None or not all(
        isinstance(value, dict) for value in (base.value, result.definition, theirs.value)
    ):
        return draft, conflict
    merged = merge(base.value, result.definition, theirs.value, _choices(form))
    if merged.conflicts:
        # The parts that were chosen before stay on the page.
        every = merge(base.value, result.definition, theirs.value, {}).conflicts
        parts = [_part(part, form) for part in every]
        return draft, replace(conflict, parts=parts)
    is_described = result.description != base.description
    description = result.description if is_described else theirs.description
    rebased = draft_of(merged.definition, description, theirs.version, view=draft.view)
    rebased.message = draft.message
    return rebased, None


def _choices(form: Form) -> Mapping[str, Choice]:
    return {
        name.removeprefix(_CHOICE): value
        for name, value in form.items()
        if name.startswith(_CHOICE) and value in CHOICES
    }


def _part(conflict: MergeConflict, form: Form) -> ConflictingPart:
    field = f"{_CHOICE}{conflict.part}"
    return ConflictingPart(
        name=conflict.part,
        field=field,
        mine=list(_lines(conflict.mine)),
        theirs=list(_lines(conflict.theirs)),
        may_be_both=conflict.may_be_both,
        choice=form.get(field, ""),
    )


def _lines(value: Any) -> Iterator[str]:
    """Yield a part in words where it has rules, else as JSON."""
    match value:
        case [TargetingRule(), *_]:
            *lines, _ = describe({"state": "ENABLED", "targeting": write(Targeting(tuple(value)))})
            yield from lines
        case [] | None:
            yield "removed" if value == [] else "null"
        case _ if value is UNSET:
            yield "removed"
        case _:
            yield encode(value)


async def _history(request: web.Request, key: str) -> Sequence[KeyChange]:
    environment = request.match_info["environment"]
    async with request.app[DATABASE].connection() as connection:
        return (await key_history(connection, environment, key, limit=HISTORY_MAX)).items


def _configuration(entry: Configuration, change: KeyChange, view: EntryView) -> Configuration:
    return msgspec.structs.replace(
        entry,
        kind=view.kind,
        value=view.value,
        schema=view.schema,
        description=view.description,
        version=view.version,
        updated_revision=change.revision,
        updated_at=change.created_at,
    )
