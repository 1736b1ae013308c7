"""Parse a condition that a person writes, such as `email ends_with @example.org`."""

import re
from difflib import get_close_matches
from typing import Any

import msgspec

from app.errors import invalid
from app.evaluation.rule_tree import (
    Attribute,
    Comparison,
    Condition,
    FlagReference,
    Negation,
    SegmentReference,
)
from app.evaluation.targeting import IN_LIST, VERSION_COMPARISONS

_EQUAL = {"=": "==", "==": "==", "!=": "!="}
_ORDERED = ("<", "<=", ">", ">=")
_AFFIXES = ("starts_with", "ends_with")
_VERSIONS = {f"version{comparison}": comparison for comparison in VERSION_COMPARISONS}
_SIGNS = re.compile("[=<>!]")
_SYNONYMS = {"===": "=", "is": "=", "equals": "=", "!==": "!=", "not": "!="}
OPERATORS = (*_EQUAL, *_ORDERED, "in", "not_in", IN_LIST, "contains", *_AFFIXES, *_VERSIONS)


def parse_condition(text: str) -> Condition:
    """Parse `ATTRIBUTE OPERATOR VALUE`, `ATTRIBUTE`, `segment KEY` or `flag KEY VARIANT`.

    Values are numbers, true or false if they look so, and texts otherwise. Lists have commas.
    Raises Invalid.
    """
    match text.split(maxsplit=2):
        case ["segment", key]:
            return SegmentReference(key)
        case [name] if not _SIGNS.search(name):
            return Comparison(Attribute(name), None)
        case [name, operator, value] if operator in OPERATORS:
            return _comparison(Attribute(name), operator, value.strip())
        case ["flag", key, variant]:
            return FlagReference(key, variant.strip())
        case [_, operator, _] if close := _close(operator):
            raise invalid("--if", f"{operator} is not an operator; did you mean {close}?")
        case _:
            operators = " ".join(OPERATORS)
            rule = f"{text!r} must be ATTRIBUTE OPERATOR VALUE with spaces between, by {operators}"
            raise invalid("--if", rule)


def _close(operator: str) -> str | None:
    """Return the operator that a person probably means."""
    if operator in _SYNONYMS:
        return _SYNONYMS[operator]
    return next(iter(get_close_matches(operator, OPERATORS, n=1)), None)


def _comparison(attribute: Attribute, operator: str, value: str) -> Condition:
    if operator in _EQUAL:
        return Comparison(attribute, _EQUAL[operator], _scalar(value))
    if operator in ("in", "not_in"):
        is_in = Comparison(attribute, "in", [_scalar(item.strip()) for item in value.split(",")])
        return is_in if operator == "in" else Negation(is_in)
    if operator == IN_LIST:
        return Comparison(attribute, IN_LIST, value, is_reversed=True)
    if operator == "contains":
        return Comparison(attribute, "in", value, is_reversed=True)
    if operator in _VERSIONS:
        return Comparison(attribute, "sem_ver", value, version_operator=_VERSIONS[operator])
    return Comparison(attribute, operator, value if operator in _AFFIXES else _scalar(value))


def _scalar(text: str) -> Any:
    """Return a number, a boolean or a quoted text of JSON as such, and anything else as text."""
    try:
        value = msgspec.json.decode(text.encode())
    except (msgspec.DecodeError, UnicodeEncodeError):
        return text
    return value if isinstance(value, str | int | float | bool) else text
