"""Check the form of rules: flagd's JsonLogic, as its published JSON Schema defines it.

One function per kind of operator yields the violations of its arguments. The functions recurse, so
the depth of the rule is checked first, without recursion.
"""

import re
from collections.abc import Callable, Iterator
from typing import Any

from app.errors import Violation
from app.evaluation.compiler import LIST_VALUES_MAX
from app.evaluation.flag_operator import needed_variant
from app.names import is_stored_key

# The depth of JSON, so that the checks below cannot recurse too deep. `validation.py` checks the
# cost of a rule together with its segments.
RULE_DEPTH_MAX = 64
# Buckets use 32 bits, and other languages reserve one of them for the sign.
WEIGHTS_SUM_MAX = 2**31 - 1

REFERENCE = "$ref"
IN_LIST = "in_list"
BUILT_IN = ("$flagd.flagKey", "$flagd.timestamp")
VERSION_COMPARISONS = ("=", "!=", ">", "<", ">=", "<=", "~", "^")

_NUMBER = r"(?:0|[1-9][0-9]*)"
_PRERELEASE = rf"(?:{_NUMBER}|[0-9]*[A-Za-z-][0-9A-Za-z-]*)"
_BUILD = r"[0-9A-Za-z-]+"
_VERSION = re.compile(
    rf"{_NUMBER}\.{_NUMBER}\.{_NUMBER}"
    rf"(?:-{_PRERELEASE}(?:\.{_PRERELEASE})*)?"
    rf"(?:\+{_BUILD}(?:\.{_BUILD})*)?"
)

Violations = Iterator[Violation]
Check = Callable[[Any, str], Violations]


def check_rule(rule: Any, path: str) -> Violations:
    """Yield the violations of a complete rule: a flag's targeting or a segment."""
    if not isinstance(rule, dict):
        yield Violation(path, "must be an object")
    elif excess := _excess(rule):
        yield Violation(path, excess)
    else:
        yield from _check_rule(rule, path)


def member(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _excess(rule: dict[str, Any]) -> str | None:
    """Return the limit that a rule exceeds, if any; without recursion, for any depth."""
    stack: list[tuple[Any, int]] = [(rule, 1)]
    while stack:
        node, depth = stack.pop()
        parts = node.values() if isinstance(node, dict) else node
        if parts and depth == RULE_DEPTH_MAX:
            return f"must not nest deeper than {RULE_DEPTH_MAX}"
        if isinstance(node, list) and len(node) > LIST_VALUES_MAX:
            return f"must not have a list of more than {LIST_VALUES_MAX} values"
        stack += [(part, depth + 1) for part in parts if type(part) in (dict, list)]
    return None


def _check_rule(rule: dict[str, Any], path: str) -> Violations:
    if len(rule) != 1:
        yield Violation(path, "must have one operator")
        return
    [(operator, operand)] = rule.items()
    inner = member(path, operator)
    if operator == REFERENCE:
        yield Violation(inner, 'must not stand here, where {"if": [{"$ref": KEY}]} may')
    elif operator in _OPERATORS:
        yield from _OPERATORS[operator](operand, inner)
    else:
        yield Violation(inner, "is not a known operator")


def _check_argument(argument: Any, path: str) -> Violations:
    """Check an argument: a rule, a reference, a list of them, or a plain value."""
    if isinstance(argument, list):
        for position, item in enumerate(argument):
            if type(item) in (dict, list):
                yield from _check_argument(item, f"{path}[{position}]")
    elif isinstance(argument, dict) and argument.keys() == {REFERENCE}:
        if not (isinstance(argument[REFERENCE], str) and is_stored_key(argument[REFERENCE])):
            yield Violation(member(path, REFERENCE), "must be the key of a segment")
    elif isinstance(argument, dict):
        yield from _check_rule(argument, path)


def _check_each(
    arguments: list[Any], path: str, check: Check = _check_argument, *, start: int = 0
) -> Violations:
    for position, argument in enumerate(arguments[start:], start=start):
        yield from check(argument, f"{path}[{position}]")


def _arguments(least: int, most: int | None = None, check: Check = _check_argument) -> Check:
    """Return the check of an operator with this number of arguments."""
    count = f"{least}" if most == least else f"{least} or {most}" if most else f"{least} or more"

    def check_arguments(operand: Any, path: str) -> Violations:
        if not isinstance(operand, list) or not least <= len(operand) <= (most or len(operand)):
            yield Violation(path, f"must be a list of {count} arguments")
        else:
            yield from _check_each(operand, path, check)

    return check_arguments


def _check_single(operand: Any, path: str) -> Violations:
    """Check the one argument of a negation, which may stand without a list."""
    if isinstance(operand, list) and len(operand) != 1:
        yield Violation(path, "must be one argument")
    else:
        yield from _check_argument(operand, path)


def _check_variable(operand: Any, path: str) -> Violations:
    """Check a name, or a list of a name and a default. Both may be computed."""
    name = operand[0] if isinstance(operand, list) and operand else operand
    if isinstance(name, str) and name.startswith("$flagd.") and name not in BUILT_IN:
        yield Violation(path, f"must be one of {', '.join(BUILT_IN)} if it begins with $flagd.")
    yield from _check_argument(operand, path)


def _check_names(operand: Any, path: str) -> Violations:
    if not isinstance(operand, list) or not all(isinstance(name, str) for name in operand):
        yield Violation(path, "must be a list of names")


def _check_missing_some(operand: Any, path: str) -> Violations:
    if not isinstance(operand, list) or len(operand) != 2:
        yield Violation(path, "must be a list of a number and a list of names")
        return
    if isinstance(operand[0], bool) or not isinstance(operand[0], int | float):
        yield Violation(f"{path}[0]", "must be a number")
    yield from _check_names(operand[1], f"{path}[1]")


def _check_text(argument: Any, path: str) -> Violations:
    if isinstance(argument, dict):
        yield from _check_rule(argument, path)
    elif not isinstance(argument, str):
        yield Violation(path, "must be a string or a rule")


def _check_versions(operand: Any, path: str) -> Violations:
    if not isinstance(operand, list) or len(operand) != 3:
        yield Violation(path, "must be a list of a version, a comparison and a version")
        return
    yield from _check_version(operand[0], f"{path}[0]")
    if operand[1] not in VERSION_COMPARISONS:
        yield Violation(f"{path}[1]", f"must be one of {' '.join(VERSION_COMPARISONS)}")
    yield from _check_version(operand[2], f"{path}[2]")


def _check_version(argument: Any, path: str) -> Violations:
    if isinstance(argument, dict) and argument.keys() == {"var"}:
        yield from _check_rule(argument, path)
    elif not isinstance(argument, str) or not _VERSION.fullmatch(argument):
        yield Violation(path, "must be a full version, such as 1.2.3, or a var")


def _check_fractional(operand: Any, path: str) -> Violations:
    if not isinstance(operand, list) or not operand:
        yield Violation(path, "must be a list of buckets, optionally after a rule")
        return
    first_bucket = 1 if isinstance(operand[0], dict) else 0
    if first_bucket:
        yield from _check_rule(operand[0], f"{path}[0]")
    yield from _check_each(operand, path, _check_bucket, start=first_bucket)
    if sum(map(_weight, operand[first_bucket:])) > WEIGHTS_SUM_MAX:
        yield Violation(path, f"must have weights that sum up to at most {WEIGHTS_SUM_MAX}")


def _check_membership(operand: Any, path: str) -> Violations:
    if not isinstance(operand, list) or len(operand) != 2:
        yield Violation(path, "must be a list of the key of a list and a value")
        return
    if not (isinstance(operand[0], str) and is_stored_key(operand[0])):
        yield Violation(f"{path}[0]", "must be the key of a list")
    yield from _check_argument(operand[1], f"{path}[1]")


def _check_bucket(bucket: Any, path: str) -> Violations:
    if not isinstance(bucket, list) or len(bucket) not in (1, 2):
        yield Violation(path, "must be a list of a variant and, optionally, a weight")
        return
    yield from _check_argument(bucket[0], f"{path}[0]")
    weight = bucket[1] if len(bucket) == 2 else 1
    if isinstance(weight, dict):
        yield from _check_rule(weight, f"{path}[1]")
    elif not _is_whole(weight) or weight < 0:
        yield Violation(f"{path}[1]", "must be a whole number from 0, or a rule")


def _is_whole(number: Any) -> bool:
    if isinstance(number, float):
        return number.is_integer()
    return isinstance(number, int) and not isinstance(number, bool)


def _weight(bucket: Any) -> int:
    """Return the literal weight of a bucket; a computed one counts as 0."""
    match bucket:
        case [_]:
            return 1
        case [_, weight] if _is_whole(weight):
            return int(weight)
        case _:
            return 0


def _check_flag(operand: Any, path: str) -> Violations:
    needed = needed_variant(operand)
    if needed is None or not is_stored_key(needed[0]) or needed[1] == "":
        yield Violation(path, "must be a list of the key of a flag and, optionally, a variant")


_OPERATORS: dict[str, Check] = {
    "var": _check_variable,
    "missing": _check_names,
    "missing_some": _check_missing_some,
    "!": _check_single,
    "!!": _check_single,
    "*": _arguments(2),
    "reduce": _arguments(3, 3),
    "starts_with": _arguments(2, 2, _check_text),
    "ends_with": _arguments(2, 2, _check_text),
    "sem_ver": _check_versions,
    "fractional": _check_fractional,
    "flag": _check_flag,
    IN_LIST: _check_membership,
}
_OPERATORS |= dict.fromkeys(("==", "===", "!=", "!==", ">", ">=", "%", "/", "in"), _arguments(2, 2))
_OPERATORS |= dict.fromkeys(("map", "filter", "all", "none", "some"), _arguments(2, 2))
_OPERATORS |= dict.fromkeys(("<", "<=", "substr"), _arguments(2, 3))
_OPERATORS |= dict.fromkeys(
    ("if", "or", "and", "+", "-", "max", "min", "merge", "cat"), _arguments(1)
)
