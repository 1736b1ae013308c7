"""Plain data for the templates of segments."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from app.configuration.changes.references import names_in
from app.configuration.snapshots.snapshot import Configuration, Snapshot
from app.console.copying.texts import CopyTexts
from app.console.entry_drafts import DraftConflict, PendingChange
from app.console.entry_index import EntryRow
from app.console.flag.draft import FlagDraft
from app.console.forms import RefusedAction
from app.console.segments.drafts import condition_in
from app.evaluation.lists import list_reference
from app.evaluation.rule_tree import Advanced
from app.flags.sampling import variables_in
from app.flags.segment_users import flags_using, referring_keys
from app.flags.wording import condition_text

# Attributes of nested segments beyond this number have no field in the preview.
ATTRIBUTES_MAX = 12
_WORDS_MAX = 300


@dataclass(frozen=True)
class SegmentUser:
    """An entry that refers to a segment. `is_direct` is false for a flag that uses it through
    another segment.
    """

    key: str
    kind: str
    is_direct: bool


@dataclass(frozen=True, kw_only=True)
class SegmentPage:
    """The page of a segment, or of a new one when `entry` is None. `reason`: why it is JSON.

    `texts` write the pending change from a terminal.
    """

    entry: Configuration | None
    key: str
    draft: FlagDraft
    words: str
    reason: str
    users: Sequence[SegmentUser]
    attributes: Sequence[str]
    pending: PendingChange | None = None
    texts: CopyTexts | None = None
    conflict: DraftConflict | None = None
    is_posted: bool = False
    refused: RefusedAction | None = None
    # What was typed in the fields of the preview, by the attribute.
    context: Mapping[str, str] = field(default_factory=dict)

    def context_text(self, attribute: str) -> str:
        """Return the text of an attribute's field in the preview."""
        return self.context.get(attribute, "user-1" if attribute == "targetingKey" else "")


def words_of(value: Any) -> str:
    """Return a segment in words; empty when it has none."""
    list_ = list_reference(value)
    if list_ is not None:
        return f"list of {list_.count:,} {'value' if list_.count == 1 else 'values'}"
    condition = condition_in(value)
    return "" if isinstance(condition, Advanced) else condition_text(condition)


def with_words(snapshot: Snapshot, rows: Sequence[EntryRow]) -> list[EntryRow]:
    """Return the rows of segments with their conditions in words."""
    return [replace(row, short=_short(snapshot.rules.segments.get(row.key), row)) for row in rows]


def _short(value: Any, row: EntryRow) -> str:
    return shortened(words_of(value)) or row.short


def shortened(words: str) -> str:
    """Return words as far as a person reads them."""
    return words if len(words) <= _WORDS_MAX else words[: _WORDS_MAX - 1] + "…"


def users_of(snapshot: Snapshot, key: str) -> list[SegmentUser]:
    """Return the flags and segments that use a segment, those that name it first."""
    direct = sorted({user for user, _ in referring_keys(snapshot.rules, {key})})
    users = [SegmentUser(user, snapshot.entries[user].kind, True) for user in direct]
    others = (user for user in flags_using(snapshot.rules, {key}) if user not in direct)
    return [*users, *(SegmentUser(user, "flag", False) for user in others)]


def attributes_of(snapshot: Snapshot, value: Any) -> list[str]:
    """Return the attributes that a segment reads, also through the segments that it uses."""
    names: dict[str, None] = {}
    waiting, seen = [value], set[str]()
    while waiting and len(names) < ATTRIBUTES_MAX:
        rule = waiting.pop()
        names |= dict.fromkeys(variables_in(rule))
        for name in sorted(set(names_in(rule)) - seen):
            seen.add(name)
            waiting.append(snapshot.rules.segments.get(name))
    found = [name for name in names if name != "targetingKey"]
    return ["targetingKey", *found[: ATTRIBUTES_MAX - 1]]
