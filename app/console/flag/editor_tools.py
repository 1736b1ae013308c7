"""The functions that the templates of the editor call."""

from collections.abc import Sequence
from typing import NamedTuple

from app.console.flag.draft import DraftCondition, DraftShare
from app.console.flag.operators import OFFERED, OPERATORS, label_of
from app.console.flag.outcomes import parse_percent
from app.console.flag.values import VALUE_TYPES, encode, list_count
from app.console.forms import FormErrors
from app.console.json_text import pretty

__all__ = ["OFFERED", "encode", "label_of", "list_count", "pretty"]

_NAMED = {"attribute", "value", "segment", "flag", "percent", "variant", "name", "state", "minutes"}
# Fields that are inputs, by the last part of their path.
_INPUTS = {
    "attribute",
    "value",
    "segment",
    "flag",
    "percent",
    "name",
    "at",
    "hold",
    "minutes",
    "start",
}
_WORDS = {"shares": "parts", "at": "time", "hold": "wait"}
_PLACES = {
    "otherwise": "Last rule",
    "json": "Definition",
    "default": "Default variant",
    "off": "Off variant",
}


class SplitBar(NamedTuple):
    """A part of the bar of a split, in percent."""

    x: float
    width: float


def split_bars(shares: Sequence[DraftShare]) -> list[SplitBar]:
    bars, x = [], 0.0
    for share in shares:
        width = float(parse_percent(share.percent) or 0)
        bars.append(SplitBar(round(x, 3), round(width, 3)))
        x += width
    return bars


def has_value(condition: DraftCondition) -> bool:
    return bool(OPERATORS[condition.base_operator].types)


def types_of(condition: DraftCondition) -> list[str]:
    """Return the types that a person can choose: JSON only where it has a use."""
    types = OPERATORS[condition.base_operator].types
    return [
        type_
        for type_ in types
        if type_ != "json" or condition.type == type_ or (types[0] == "text" and len(types) > 3)
    ]


def type_label(name: str) -> str:
    return VALUE_TYPES[name]


def place_name(field: str) -> str:
    """Return the place of a field in words, such as "Rule 2: value"."""
    name, _, rest = field.partition(".")
    position, _, _ = rest.partition(".")
    if name == "value":
        return rest or "Definition"
    if position.isdigit():
        place = f"{name.removesuffix('s').capitalize()} {int(position) + 1}"
    else:
        place = _PLACES.get(name, name.capitalize())
    word = _word(field) if rest else ""
    return f"{place}: {word}" if word else place


def has_input(field: str) -> bool:
    """Return whether the field is one input, which `invalid` of the templates marks."""
    return _word(field) in _INPUTS or field == "json"


def rules_under(errors: FormErrors, path: str) -> list[str]:
    """Return the broken rules of a part of the form, with the name of the field in it."""
    return [
        rule if field == path else f"{_word(field)} {rule}".strip()
        for field, rules in errors.by_field.items()
        if field == path or field.startswith(f"{path}.")
        for rule in rules
    ]


def _word(field: str) -> str:
    last = field.rpartition(".")[2]
    return _WORDS.get(last, last if last in _NAMED else "")
