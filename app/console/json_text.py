"""JSON as people read and type it: pretty-printed, with the line of an error, and as a diff."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any, Literal

import msgspec

from app.errors import Invalid, Malformed, Violation
from app.http.decoder import parse

# Comparing more lines takes too long.
DIFF_LINES_MAX = 2_000
_CONTEXT_LINES = 2
_EXCERPT_MAX = 120
_POSITION = re.compile(r"at line ([0-9]+), column ([0-9]+)")


@dataclass(frozen=True)
class DiffLine:
    """`sign` is + for an added line, - for a removed one, and … where equal lines are left out."""

    sign: Literal["+", "-", " ", "…"]
    text: str


def pretty(value: Any) -> str:
    """Return a value as JSON, indented by two spaces."""
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode()


def parse_json(text: str, field: str) -> Any:
    """Return the value of a text. Raises Invalid for the field, with the line of the error."""
    if not text.strip():
        raise Invalid.of("field_invalid", [Violation(field, "must be JSON; it is empty")])
    try:
        return parse(text.encode(), root=field)
    except Malformed as error:
        rule = error.violations[0].rule
        excerpt = _excerpt(text, rule)
        raise Invalid.of("field_invalid", [Violation(field, rule + excerpt)]) from None


def _excerpt(text: str, rule: str) -> str:
    """Return the text of the line that a rule names."""
    position = _POSITION.search(rule)
    lines = text.split("\n")
    if position is None or int(position[1]) > len(lines):
        return ""
    line, column = lines[int(position[1]) - 1], int(position[2]) - 1
    start = max(0, column - _EXCERPT_MAX // 2)
    shown = line[start : start + _EXCERPT_MAX].strip()
    return f": {shown}" if shown else ""


def diff(before: Any, after: Any) -> list[DiffLine] | None:
    """Return the lines that differ between two values, or None when there are too many lines.

    UNSET stands for no value.
    """
    old, new = (_lines(value) for value in (before, after))
    if len(old) + len(new) > DIFF_LINES_MAX:
        return None
    return list(_diff_lines(old, new))


def _lines(value: Any) -> list[str]:
    if value is msgspec.UNSET:
        return []
    # Sorted, because the order of members has no meaning.
    encoded = msgspec.json.encode(value, order="sorted")
    return msgspec.json.format(encoded, indent=2).decode().split("\n")


def _diff_lines(old: Sequence[str], new: Sequence[str]) -> Iterator[DiffLine]:
    for group in SequenceMatcher(None, old, new, autojunk=False).get_grouped_opcodes(
        _CONTEXT_LINES
    ):
        if group[0][1] > 0:
            yield DiffLine("…", "")
        for tag, start, end, new_start, new_end in group:
            if tag == "equal":
                yield from (DiffLine(" ", line) for line in old[start:end])
                continue
            yield from (DiffLine("-", line) for line in old[start:end])
            yield from (DiffLine("+", line) for line in new[new_start:new_end])
