"""What is probably a mistake in a definition, although it is valid."""

from collections.abc import Iterator
from itertools import takewhile
from typing import Any

import msgspec

from app.errors import Violation
from app.evaluation.targeting import member

_MEMBERS = ("state", "variants", "defaultVariant", "targeting", "metadata", "guards")
_NAMES_MAX = 20


def flag_advice(flag: Any) -> Iterator[Violation]:
    """Yield advice on a flag; fields are paths within it."""
    if not isinstance(flag, dict):
        return
    for name in sorted(flag.keys() - set(_MEMBERS))[:_NAMES_MAX]:
        for known in _MEMBERS:
            if _is_near(name, known):
                yield Violation(name, f"has no effect; did you mean {known}?")
    yield from rule_advice(flag.get("targeting"), "targeting")


def rule_advice(rule: Any, path: str) -> Iterator[Violation]:
    """Yield each part of a rule whose branches all give the same."""
    waiting = [(rule, path)]
    while waiting:
        node, where = waiting.pop()
        if isinstance(node, list):
            waiting += [
                (child, f"{where}[{position}]")
                for position, child in enumerate(node)
                if isinstance(child, dict | list)
            ]
        elif isinstance(node, dict):
            waiting += [(child, member(where, name)) for name, child in node.items()]
            if len(node) == 1:
                ((operator, operand),) = node.items()
                if _are_equal(_branches(operator, operand)):
                    yield Violation(member(where, operator), "has branches that are all equal")


def _is_near(name: str, known: str) -> bool:
    """Tell whether case, underscores or one letter make the difference."""
    left, right = name.replace("_", "").lower(), known.lower()
    same = sum(
        1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(left, right, strict=False))
    )
    left, right = left[same:], right[same:]
    return left[1:] == right[1:] or left == right[1:] or left[1:] == right


def _branches(operator: str, operand: Any) -> list[Any]:
    """Return what a choice chooses from; nothing for other operators."""
    if not isinstance(operand, list):
        return []
    if operator == "if" and len(operand) % 2 == 1:
        return [*operand[1::2], operand[-1]]
    if operator == "fractional":
        return [bucket[0] for bucket in operand if isinstance(bucket, list) and bucket]
    return []


def _are_equal(branches: list[Any]) -> bool:
    # As JSON, since 1 equals True in Python.
    return len(branches) > 1 and len({msgspec.json.encode(each) for each in branches}) == 1
