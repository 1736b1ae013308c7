"""Say how the condition of a rule or of a segment changed."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec

from app.evaluation.rule_tree import Comparison, Condition, ConditionGroup, Negation, Targeting
from app.evaluation.rule_writer import write
from app.flags.change_words.sentences import (
    CHANGED,
    NOW,
    WAS,
    WERE,
    Part,
    Sentence,
    name,
    names,
    sentence,
)
from app.flags.change_words.values import canonical, missing_items
from app.flags.wording import condition_text, item_text

_NOW_ALSO: tuple[Part, ...] = (" ", NOW, "also ")
_NO_LONGER: tuple[Part, ...] = (" no longer ",)


@dataclass(frozen=True, kw_only=True)
class Subject:
    """The rule or segment, at the start of a sentence and within one."""

    start: tuple[Part, ...]
    within: tuple[Part, ...]


class _ListChange(NamedTuple):
    comparison: Comparison
    added: list[Any]
    removed: list[Any]


class _MemberChange(NamedTuple):
    kind: str
    added: list[Condition]
    removed: list[Condition]


def describe_condition(subject: Subject, before: Condition, after: Condition) -> Iterator[Sentence]:
    """Yield sentences if the conditions differ in words."""
    if condition_text(before) == condition_text(after):
        return
    if (change := _list_change(before, after)) is not None:
        for adverb, items in ((_NOW_ALSO, change.added), (_NO_LONGER, change.removed)):
            if items:
                text = condition_text(_with_items(change.comparison, items))
                yield sentence(*subject.start, *adverb, "matches ", name(text))
    elif (members := _member_change(before, after)) is not None:
        yield from _describe_members(subject, members)
    elif _has_other_kind(before, after):
        is_all = isinstance(after, ConditionGroup) and after.kind == "and"
        needed = "all" if is_all else "only one"
        yield sentence(*subject.start, " ", NOW, f"needs {needed} of its conditions")
    elif isinstance(before, Negation) and isinstance(after, Negation):
        yield from _describe_part(subject, before, after)
    else:
        old, new = name(condition_text(before)), name(condition_text(after))
        yield sentence("Condition of ", *subject.within, " ", CHANGED, " from ", old, " to ", new)


def condition_key(condition: Condition) -> str:
    """Return a text that is the same for equal conditions only."""
    return canonical(write(Targeting(shorthand=condition)))


def share_a_part(before: Condition, after: Condition) -> bool:
    """Return whether two conditions read the same attribute, or have a member in common."""
    old, new = (
        {
            part.attribute.name if isinstance(part, Comparison) else condition_key(part)
            for part in _members(condition)
        }
        for condition in (before, after)
    )
    return bool(old & new)


def _describe_members(subject: Subject, change: _MemberChange) -> Iterator[Sentence]:
    if len(change.added) == len(change.removed) == 1:
        yield from _describe_part(subject, change.removed[0], change.added[0])
        return
    verb = "requires" if change.kind == "and" else "matches"
    for adverb, conditions in ((_NOW_ALSO, change.added), (_NO_LONGER, change.removed)):
        if conditions:
            texts = names(map(condition_text, conditions))
            yield sentence(*subject.start, *adverb, f"{verb} ", *texts)


def _describe_part(subject: Subject, before: Condition, after: Condition) -> Iterator[Sentence]:
    """Describe the change of a condition within a group, or under a negation."""
    if isinstance(before, Negation) and isinstance(after, Negation):
        yield from _describe_part(subject, before.condition, after.condition)
    elif (change := _list_change(before, after)) is not None:
        attribute = name(change.comparison.attribute.name)
        for verb, items in (("added to", change.added), ("removed from", change.removed)):
            if items:
                were = WAS if len(items) == 1 else WERE
                texts = names(map(item_text, items))
                rest = (" ", were, f" {verb} the list of ", attribute)
                yield sentence("In ", *subject.within, ", ", *texts, *rest)
    elif (members := _member_change(before, after)) is not None:
        yield from _describe_group(subject, members, before)
    elif condition_text(before) != condition_text(after):
        old, new = name(condition_text(before)), name(condition_text(after))
        yield sentence("In ", *subject.within, ", ", old, " ", CHANGED, " to ", new)


def _describe_group(
    subject: Subject, change: _MemberChange, before: Condition
) -> Iterator[Sentence]:
    if len(change.added) == len(change.removed) == 1:
        yield from _describe_part(subject, change.removed[0], change.added[0])
        return
    for verb, conditions in (("added to", change.added), ("removed from", change.removed)):
        if conditions:
            were = WAS if len(conditions) == 1 else WERE
            texts = names(map(condition_text, conditions))
            rest = (" ", were, f" {verb} ", name(condition_text(before)))
            yield sentence("In ", *subject.within, ", ", *texts, *rest)


def _list_change(before: Condition, after: Condition) -> _ListChange | None:
    """Return the items that were added and removed, if both compare one attribute with items."""
    if not isinstance(before, Comparison) or not isinstance(after, Comparison):
        return None
    old, new = _items(before), _items(after)
    if old is None or new is None or before.attribute != after.attribute:
        return None
    added, removed = _without(new, old), _without(old, new)
    has_common_items = len(removed) < len(old) and len(added) < len(new)
    return _ListChange(after, added, removed) if has_common_items else None


def _items(comparison: Comparison) -> list[Any] | None:
    if comparison.is_reversed:
        return None
    if comparison.operator == "in" and isinstance(comparison.value, list):
        return comparison.value
    return [comparison.value] if comparison.operator in ("==", "===") else None


def _without(items: Sequence[Any], others: Sequence[Any]) -> list[Any]:
    excluded = set(map(canonical, others))
    return [item for item in items if canonical(item) not in excluded]


def _with_items(comparison: Comparison, items: list[Any]) -> Comparison:
    operator, value = ("==", items[0]) if len(items) == 1 else ("in", items)
    return msgspec.structs.replace(comparison, operator=operator, value=value)


def _member_change(before: Condition, after: Condition) -> _MemberChange | None:
    """Return the members that were added and removed, if the two have some in common."""
    kinds = {part.kind for part in (before, after) if isinstance(part, ConditionGroup)}
    if len(kinds) != 1:
        return None
    old, new = _members(before), _members(after)
    added, removed = _other_members(new, old), _other_members(old, new)
    has_common_members = len(removed) < len(old)
    return _MemberChange(kinds.pop(), added, removed) if has_common_members else None


def _members(condition: Condition) -> Sequence[Condition]:
    return condition.conditions if isinstance(condition, ConditionGroup) else (condition,)


def _other_members(members: Sequence[Condition], others: Sequence[Condition]) -> list[Condition]:
    return missing_items(members, others, condition_key)


def _has_other_kind(before: Condition, after: Condition) -> bool:
    """Return whether `all` became `any` of the same conditions, or the opposite."""
    if not isinstance(before, ConditionGroup) or not isinstance(after, ConditionGroup):
        return False
    old, new = before.conditions, after.conditions
    return not _other_members(old, new) and not _other_members(new, old)
