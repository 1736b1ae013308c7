"""Advise on valid definitions that are probably mistakes."""

from collections.abc import Iterator
from itertools import takewhile
from typing import Any

import msgspec

from app.errors import Violation
from app.evaluation.targeting import member

_MEMBERS = (
    "state",
    "variants",
    "defaultVariant",
    "targeting",
    "metadata",
    "guards",
    "prerequisites",
    "offVariant",
)
_NAMES_MAX = 20


def flag_advice(flag: Any) -> Iterator[Violation]:
    """Yield advice on a flag; fields are paths within it."""
    if not isinstance(flag, dict):
        return
    for name in sorted(flag.keys() - set(_MEMBERS))[:_NAMES_MAX]:
        for known in _MEMBERS:
            if _is_near(name, known):
                yield Violation(name, f"has no effect; did you mean {known}?")
    if "offVariant" in flag and not flag.get("prerequisites"):
        yield Violation("offVariant", "has no effect without prerequisites")
    yield from rule_advice(flag.get("targeting"), "targeting")


def rule_advice(rule: Any, path: str) -> Iterator[Violation]:
    """Yield each part of a rule whose branches are all equal."""
    stack = [(rule, path)]
    while stack:
        node, where = stack.pop()
        if isinstance(node, list):
            stack += [
                (child, f"{where}[{position}]")
                for position, child in enumerate(node)
                if isinstance(child, dict | list)
            ]
        elif isinstance(node, dict):
            stack += [(child, member(where, name)) for name, child in node.items()]
            if len(node) == 1:
                ((operator, operand),) = node.items()
                if _are_equal(_branches(operator, operand)):
                    yield Violation(member(where, operator), "has branches that are all equal")


def _is_near(name: str, known: str) -> bool:
    """Return whether the names differ only by case, underscores or one letter."""
    left, right = name.replace("_", "").lower(), known.lower()
    pairs = zip(left, right, strict=False)
    prefix = len(list(takewhile(lambda pair: pair[0] == pair[1], pairs)))
    left, right = left[prefix:], right[prefix:]
    return left[1:] == right[1:] or left == right[1:] or left[1:] == right


def _branches(operator: str, operand: Any) -> list[Any]:
    """Return the branches of `if` and `fractional`; nothing for other operators."""
    if not isinstance(operand, list):
        return []
    if operator == "if" and len(operand) % 2 == 1:
        return [*operand[1::2], operand[-1]]
    if operator == "fractional":
        return [bucket[0] for bucket in operand if isinstance(bucket, list) and bucket]
    return []


def _are_equal(branches: list[Any]) -> bool:
    # Compare JSON, because 1 equals True in Python.
    return len(branches) > 1 and len(set(map(msgspec.json.encode, branches))) == 1
