"""What an operator was given, put together afterwards: from its raw arguments, and from what came
out of the operators within them.
"""

from collections.abc import Mapping
from typing import Any

from app.evaluation.nodes import MISSING

# They decide which of their operands are asked for.
LAZY = frozenset({"if", "?:", "and", "or"})
# What they take besides an array is a rule, which has as many outcomes as there are elements.
_LOOPS = frozenset({"map", "filter", "all", "none", "some", "reduce"})


def values_of(operator: str, raw: Any, path: str, outcomes: Mapping[str, Any]) -> list[Any]:
    """Return the values of an operator's operands, up to the first that has none.

    `outcomes` are those of the operators directly within it, by their places.
    """
    if isinstance(raw, list):
        arguments = [(each, f"{path}[{position}]") for position, each in enumerate(raw)]
    else:
        arguments = [(raw, path)]
    if operator in _LOOPS:
        arguments = [(arguments[0][0], f"{path}[0]")] if arguments else []
    values = []
    for argument, where in arguments:
        value = _value(argument, where, outcomes)
        if value is MISSING:
            break
        values.append(value)
    return values


def _value(raw: Any, path: str, outcomes: Mapping[str, Any]) -> Any:
    if isinstance(raw, list):
        values = [_value(each, f"{path}[{at}]", outcomes) for at, each in enumerate(raw)]
        return MISSING if MISSING in values else values
    if not isinstance(raw, dict) or len(raw) != 1:
        return raw
    # A reference is part of the path of what it stands for.
    inner = f"{path}."
    return next((value for at, value in outcomes.items() if at.startswith(inner)), MISSING)
