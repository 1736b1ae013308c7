"""The changes of a draft that are not saved: in words, as JSON, and with advice."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import unified_diff
from itertools import islice
from typing import Any

from app.console.flag.definition import DraftResult, is_same
from app.console.flag.values import encode_pretty
from app.errors import Violation
from app.evaluation.advice import flag_advice

_LINES_MAX = 400
_ADVICE_MAX = 5


@dataclass(frozen=True, kw_only=True)
class PendingChanges:
    """`words` are the changes, `lines` the JSON diff as (sign, text)."""

    words: Sequence[str]
    lines: Sequence[tuple[str, str]]
    advice: Sequence[Violation]
    is_changed: bool


def pending_changes(before: Any, description: str | None, result: DraftResult) -> PendingChanges:
    """Compare the draft with the flag from which it began."""
    is_described = description == result.description
    is_changed = not is_same(before, result.definition) or not is_described
    return PendingChanges(
        words=list(_words(before, result.definition))
        + ["Description changed"] * (not is_described),
        lines=list(islice(_lines(before, result.definition), _LINES_MAX)),
        advice=list(islice(flag_advice(result.definition), _ADVICE_MAX)),
        is_changed=is_changed,
    )


def _words(before: Any, after: Any) -> Iterator[str]:
    old = before if isinstance(before, dict) else {}
    new = after if isinstance(after, dict) else {}
    for name in sorted(old.keys() | new.keys()):
        if name not in old:
            yield f"{name} added"
        elif name not in new:
            yield f"{name} removed"
        elif not is_same(old[name], new[name]):
            yield f"{name} changed"


def _lines(before: Any, after: Any) -> Iterator[tuple[str, str]]:
    old, new = encode_pretty(before).splitlines(), encode_pretty(after).splitlines()
    for line in islice(unified_diff(old, new, lineterm="", n=2), 2, None):
        yield (" ", "…") if line.startswith("@@") else (line[0], line[1:])
