"""Say how a JSON value changed: from what to what, or which of its paths."""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple, TypeVar

from msgspec import UNSET

from app.flags.change_words.sentences import (
    CHANGED,
    WAS,
    Part,
    Sentence,
    name,
    sentence,
    shortened,
)

_SHOWN_MAX = 3
# So that two values, or the differences that are shown, fit into one sentence.
_VALUE_MAX = 60
_SHORT_VALUE_MAX = 24
# Characters before the first difference of two long texts.
_LEAD = 12

T = TypeVar("T")


class ValueDifference(NamedTuple):
    """A path at which two values differ. A side without the path is UNSET."""

    path: str
    before: Any
    after: Any


def describe_value(subject: tuple[Part, ...], before: Any, after: Any) -> Iterator[Sentence]:
    """Yield one sentence if the values differ. UNSET stands for no value."""
    found = list(differences(before, after))
    if not found:
        return
    if before is UNSET:
        yield sentence(*subject, " ", WAS, " added: ", value_text(after, _VALUE_MAX))
    elif after is UNSET:
        yield sentence(*subject, " ", WAS, " removed")
    elif not found[0].path:
        yield sentence(*subject, " ", CHANGED, " ", *_from_to(before, after, _VALUE_MAX))
    else:
        yield sentence(*subject, " ", CHANGED, ": ", *_listed(found))


def differences(before: Any, after: Any, path: str = "") -> Iterator[ValueDifference]:
    """Yield the paths at which two values differ. True differs from 1, and 1 from 1.0."""
    if isinstance(before, dict) and isinstance(after, dict):
        for member in before | after:
            inner = f"{path}.{member}" if path else member or '""'
            yield from differences(before.get(member, UNSET), after.get(member, UNSET), inner)
    elif isinstance(before, list) and isinstance(after, list):
        yield from _of_lists(before, after, path)
    elif type(before) is not type(after) or before != after:
        yield ValueDifference(path, before, after)


def _of_lists(before: list[Any], after: list[Any], path: str) -> Iterator[ValueDifference]:
    """Compare by position, without the equal elements at the start and at the end."""
    shorter = min(len(before), len(after))
    if len(before) == len(after):
        start, end = 0, 0
    else:
        start = _same_count(before, after, shorter)
        end = _same_count(before[::-1], after[::-1], shorter - start)
    old, new = before[start : len(before) - end], after[start : len(after) - end]
    for offset in range(max(len(old), len(new))):
        left = old[offset] if offset < len(old) else UNSET
        right = new[offset] if offset < len(new) else UNSET
        yield from differences(left, right, f"{path}[{start + offset}]")


def _same_count(before: list[Any], after: list[Any], limit: int) -> int:
    for position in range(limit):
        if next(differences(before[position], after[position]), None) is not None:
            return position
    return limit


def value_text(value: Any, limit: int = _SHORT_VALUE_MAX) -> str:
    """Return a value as JSON, shortened."""
    return shortened(json.dumps(value, ensure_ascii=False), limit)


def canonical(value: Any) -> str:
    """Return a text that is the same for equal values only."""
    return json.dumps(value, sort_keys=True)


def missing_items(items: Iterable[T], others: Iterable[T], key: Callable[[T], str]) -> list[T]:
    """Return the items that the others lack, by key. An item that occurs twice is counted twice."""
    available = Counter(map(key, others))
    missing = []
    for item in items:
        item_key = key(item)
        if available[item_key]:
            available[item_key] -= 1
        else:
            missing.append(item)
    return missing


def _from_to(before: Any, after: Any, limit: int) -> tuple[str, ...]:
    old, new = (json.dumps(value, ensure_ascii=False) for value in (before, after))
    if max(len(old), len(new)) > limit:
        start = max(0, _same_start(old, new) - _LEAD)
        old, new = (_excerpt(text, start, limit) for text in (old, new))
    return ("from ", old, " to ", new)


def _same_start(before: str, after: str) -> int:
    """Return the number of characters before the first difference."""
    pairs = enumerate(zip(before, after, strict=False))
    return next((position for position, (old, new) in pairs if old != new), 0)


def _excerpt(text: str, start: int, limit: int) -> str:
    return shortened(f"…{text[start:]}" if start else text, limit)


def _listed(found: list[ValueDifference]) -> Iterator[Part]:
    for position, difference in enumerate(found[:_SHOWN_MAX]):
        if position:
            yield ", "
        # The end of a path says more than its start.
        path = difference.path
        yield name(path if len(path) <= _VALUE_MAX else f"…{path[1 - _VALUE_MAX :]}")
        if difference.before is UNSET:
            yield from (" ", WAS, f" added: {value_text(difference.after)}")
        elif difference.after is UNSET:
            yield from (" ", WAS, " removed")
        else:
            yield " "
            yield from _from_to(difference.before, difference.after, _SHORT_VALUE_MAX)
    if len(found) > _SHOWN_MAX:
        yield f", and {len(found) - _SHOWN_MAX:,} more"
