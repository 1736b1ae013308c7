"""Find the possible results of a rule, to report a missing variant when the rule is written."""

from collections.abc import Iterator
from typing import Any

from app.errors import Violation
from app.evaluation.values import number_text

_COMPARISONS = {"==", "===", "!=", "!==", ">", ">=", "<", "<=", "sem_ver"}
_TESTS = {"!", "!!", "in", "all", "none", "some", "starts_with", "ends_with"}
_TRUTHS = _COMPARISONS | _TESTS

Outcomes = Iterator[tuple[Any, str]]


def check_outcomes(rule: dict[str, Any], variants: set[str], path: str) -> Iterator[Violation]:
    """Yield each result of a well-formed rule that names no variant; null means the default.

    A number names the variant that JavaScript would print for it.
    """
    for outcome, where in _outcomes(rule, path):
        if outcome is None:
            continue
        if isinstance(outcome, bool):
            name = "true" if outcome else "false"
            if name not in variants:
                yield Violation(where, f"can be {name}, so there must be a variant of that name")
        elif not isinstance(outcome, str | int | float):
            yield Violation(where, "must be the name of a variant, true, false or null")
        elif (outcome if isinstance(outcome, str) else number_text(outcome)) not in variants:
            yield Violation(where, "must be the name of a variant")


def _outcomes(rule: Any, path: str) -> Outcomes:
    """Yield each result that is known to be possible, with its path."""
    if not isinstance(rule, dict):
        yield rule, path
        return
    [(operator, operand)] = rule.items()
    inner = f"{path}.{operator}"
    if operator in _TRUTHS:
        yield True, path
        yield False, path
    elif operator == "if":
        yield from _of_branches(operand, inner)
    elif operator in ("and", "or"):
        yield from _of_operands(operand, inner, ends_with=operator == "or")
    elif operator == "fractional":
        for position, bucket in enumerate(operand):
            if isinstance(bucket, list):
                yield from _outcomes(bucket[0], f"{inner}[{position}][0]")
    elif operator == "var" and isinstance(operand, list) and len(operand) > 1:
        yield from _outcomes(operand[1], f"{inner}[1]")


def _of_branches(operands: list[Any], path: str) -> Outcomes:
    """Yield the results of the branches: every second operand, and the last one."""
    for position, operand in enumerate(operands):
        if position % 2 == 1 or position == len(operands) - 1:
            yield from _outcomes(operand, f"{path}[{position}]")


def _of_operands(operands: list[Any], path: str, *, ends_with: bool) -> Outcomes:
    """Yield the results of `or` (its first true operand) or of `and` (its first false one)."""
    for position, operand in enumerate(operands):
        is_last = position == len(operands) - 1
        for outcome, where in _outcomes(operand, f"{path}[{position}]"):
            if is_last or bool(outcome) is ends_with:
                yield outcome, where
