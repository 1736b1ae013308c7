"""Say which guards of a flag were added, removed or changed."""

from collections.abc import Iterator
from typing import Any

from msgspec import UNSET, UnsetType

from app.flags.change_words.sentences import NOW, WAS, Part, Sentence, name, sentence
from app.flags.change_words.values import canonical, describe_value, missing_items, value_text

_CONTEXT_MAX = 60


def describe_guards(before: Any, after: Any) -> Iterator[Sentence]:
    """Yield the sentences of the guards. A guard is identified by its name."""
    if not isinstance(before, list | UnsetType) or not isinstance(after, list | UnsetType):
        yield from describe_value(("Guards",), before, after)
        return
    removed = missing_items(before or [], after or [], canonical)
    added = missing_items(after or [], before or [], canonical)
    successors = {_name_of(guard): guard for guard in added if _name_of(guard)}
    for guard in removed:
        successor = successors.pop(_name_of(guard), None)
        if successor is None:
            requirement = () if _name_of(guard) else _requirement(guard)
            yield sentence(*_title("Guard", guard), " ", WAS, " removed", *requirement)
        else:
            added.remove(successor)
            yield from _describe_guard(guard, successor)
    for guard in added:
        yield sentence(*_title("Guard", guard), " ", WAS, " added", *_requirement(guard))
    if not removed and not added and canonical(before or None) != canonical(after or None):
        yield sentence("Guards are ", NOW, "in another order")
    elif not before and not after:
        yield from describe_value(("Guards",), before, after)


def _name_of(guard: Any) -> str:
    named = guard.get("name") if isinstance(guard, dict) else None
    return named if isinstance(named, str) else ""


def _title(noun: str, guard: Any) -> tuple[Part, ...]:
    return (f"{noun} ", name(_name_of(guard))) if _name_of(guard) else (noun,)


def _requirement(guard: Any) -> tuple[Part, ...]:
    if not isinstance(guard, dict) or not isinstance(guard.get("variant"), str):
        return (": ", value_text(guard, _CONTEXT_MAX))
    context = value_text(guard.get("context"), _CONTEXT_MAX)
    return (": ", context, " must get ", name(guard["variant"]))


def _describe_guard(before: dict[str, Any], after: dict[str, Any]) -> Iterator[Sentence]:
    old, new = before.get("variant", UNSET), after.get("variant", UNSET)
    if isinstance(old, str) and isinstance(new, str) and old != new:
        start = (*_title("Guard", after), " ", NOW, "requires ")
        yield sentence(*start, name(new), " instead of ", name(old))
    else:
        yield from describe_value((*_title("Variant of guard", after),), old, new)
    for member in sorted((before.keys() | after.keys()) - {"variant", "name"}):
        subject = _title(f"{member.capitalize()} of guard", after)
        yield from describe_value(subject, before.get(member, UNSET), after.get(member, UNSET))
