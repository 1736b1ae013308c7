"""The functions that the templates of the editor call."""

import re
from collections.abc import Sequence
from typing import NamedTuple

from app.console.flag.conditions import OFFERED, OPERATORS, label_of
from app.console.flag.draft import DraftCondition, DraftShare
from app.console.flag.outcomes import parse_percent
from app.console.flag.values import VALUE_TYPES, encode, list_count
from app.console.json_text import pretty

__all__ = ["OFFERED", "encode", "label_of", "list_count", "pretty"]

_RULE = re.compile(r"rules\.([0-9]+)(?:\.|$)")
_PLACES = {"otherwise": "Last rule", "json": "Definition", "default": "Default variant"}


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
    """Return the place of a field in words, such as "Rule 2"."""
    if rule := _RULE.match(field):
        return f"Rule {int(rule[1]) + 1}:"
    name, _, rest = field.partition(".")
    if rest[:1].isdigit():
        return f"{name.removesuffix('s').capitalize()} {int(rest.split('.')[0]) + 1}:"
    return _PLACES.get(name, name.capitalize())
