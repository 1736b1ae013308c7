"""Read a targeting into the tree that people edit."""

from typing import Any, cast

from msgspec import UNSET, UnsetType

from app.evaluation.rule_tree import (
    Advanced,
    Attribute,
    Comparison,
    Condition,
    ConditionGroup,
    DoubleNegation,
    FlagReference,
    Negation,
    Outcome,
    SegmentReference,
    Targeting,
    TargetingRule,
    VariantShare,
    VariantSplit,
)
from app.evaluation.targeting import IN_LIST

_COMPARISONS = ("==", "===", "!=", "!==", ">", ">=", "<", "<=", "in")
_OTHERS = ("starts_with", "ends_with", IN_LIST)
_FLAG_KEY = {"var": "$flagd.flagKey"}
_SCALARS = (str, int, float, bool, type(None))


class _NoTreeError(Exception):
    def __init__(self, path: str, reason: str) -> None:
        super().__init__(path, reason)
        self.path, self.reason = path, reason


def read(targeting: Any) -> Targeting | Advanced:
    """Return the tree of a targeting, or the part that has none."""
    try:
        return _read(targeting)
    except _NoTreeError as error:
        return Advanced(error.path, error.reason)


def _read(targeting: Any) -> Targeting:
    if not isinstance(targeting, dict) or len(targeting) > 1:
        raise _NoTreeError("", "is not an object with one operator")
    match targeting:
        case {"if": [str() | bool() | None as outcome]}:
            return Targeting(otherwise=outcome)
        case {"if": list(operands)} if len(operands) > 1:
            return _rules(operands)
        case {"fractional": _}:
            return Targeting(otherwise=_outcome(targeting, ""))
        case _:
            return Targeting(shorthand=_condition(targeting, "")) if targeting else Targeting()


def _rules(operands: list[Any]) -> Targeting:
    """Read the branches of `if`, in one list or nested in the last place."""
    rules: list[TargetingRule] = []
    path, depth = "if", 0
    while True:
        pairs, rest = divmod(len(operands), 2)
        if depth and pairs != 1:
            raise _NoTreeError(path, "mixes lists of branches with nested ones")
        for position in range(0, 2 * pairs, 2):
            condition = _condition(operands[position], f"{path}[{position}]")
            outcome = _outcome(operands[position + 1], f"{path}[{position + 1}]")
            rules.append(TargetingRule(condition, outcome))
        if not rest:
            return Targeting(tuple(rules), is_nested=depth > 0)
        last, path = operands[-1], f"{path}[{len(operands) - 1}]"
        if not (isinstance(last, dict) and last.keys() == {"if"}):
            return Targeting(tuple(rules), _outcome(last, path), is_nested=depth > 0)
        if pairs != 1 or not isinstance(last["if"], list) or len(last["if"]) < 2:
            raise _NoTreeError(path, "mixes lists of branches with nested ones")
        operands, path, depth = last["if"], f"{path}.if", depth + 1


def _condition(node: Any, path: str) -> Condition:  # noqa: PLR0911, C901 - one for each kind of condition
    if not isinstance(node, dict) or len(node) != 1:
        raise _NoTreeError(path, "is a constant where a condition is expected")
    [(operator, operand)] = node.items()
    inner = f"{path}.{operator}" if path else operator
    match operator, operand:
        case "$ref", str():
            return SegmentReference(operand)
        case "flag", [str(key), str(variant)]:
            return FlagReference(key, variant)
        case "var", _:
            return Comparison(_attribute(node, path), None)
        case "and" | "or", list():
            conditions = [_condition(item, f"{inner}[{n}]") for n, item in enumerate(operand)]
            return ConditionGroup(cast("Any", operator), tuple(conditions))
        case "!" | "!!", [single]:
            kind = Negation if operator == "!" else DoubleNegation
            return kind(_condition(single, f"{inner}[0]"), is_list=True)
        case "!" | "!!", dict():
            kind = Negation if operator == "!" else DoubleNegation
            return kind(_condition(operand, inner))
        case "sem_ver", [{"var": _} as variable, str(comparison), str(version)]:
            attribute = _attribute(variable, f"{inner}[0]")
            return Comparison(attribute, operator, version, version_operator=comparison)
        case "<" | "<=", [low, {"var": _} as variable, high] if _are_constants(low, high):
            attribute = _attribute(variable, f"{inner}[1]")
            return Comparison(attribute, operator, [low, high], is_between=True)
        case _, [left, right] if operator in _COMPARISONS or operator in _OTHERS:
            return _comparison(operator, left, right, inner)
    raise _NoTreeError(inner, f"has no form for {operator} with these arguments")


def _comparison(operator: str, left: Any, right: Any, path: str) -> Comparison:
    if operator == IN_LIST and not isinstance(left, str):
        raise _NoTreeError(path, "does not name a list")
    if _is_variable(left) and _is_constant(right):
        return Comparison(_attribute(left, f"{path}[0]"), operator, right)
    if _is_variable(right) and _is_constant(left):
        return Comparison(_attribute(right, f"{path}[1]"), operator, left, is_reversed=True)
    raise _NoTreeError(path, "does not compare one attribute with a constant")


def _is_variable(node: Any) -> bool:
    return isinstance(node, dict) and node.keys() == {"var"}


def _are_constants(*nodes: Any) -> bool:
    return all(isinstance(node, _SCALARS) for node in nodes)


def _is_constant(node: Any) -> bool:
    if isinstance(node, list):
        return _are_constants(*node)
    return _are_constants(node)


def _attribute(node: dict[str, Any], path: str) -> Attribute:
    match node["var"] if len(node) == 1 else None:
        case str(name) if name:
            return Attribute(name)
        case [str(name)] if name:
            return Attribute(name, is_list=True)
        case [str(name), default] if name and _is_constant(default):
            return Attribute(name, default, is_list=True)
    raise _NoTreeError(f"{path}.var" if path else "var", "is not the name of an attribute")


def _outcome(node: Any, path: str) -> Outcome:
    if isinstance(node, str | bool | None):
        return node
    match node:
        case {"fractional": list(operands)} if len(node) == 1 and operands:
            return _split(operands, f"{path}.fractional" if path else "fractional")
        case _:
            raise _NoTreeError(path, "is neither a variant nor a split")


def _split(operands: list[Any], path: str) -> VariantSplit:
    attribute, has_flag_key = None, False
    match operands[0]:
        case {"var": _} as variable:
            attribute = _attribute(variable, f"{path}[0]")
        case {"cat": [flag_key, {"var": _} as variable], **rest} if (
            flag_key == _FLAG_KEY and not rest
        ):
            attribute, has_flag_key = _attribute(variable, f"{path}[0].cat[1]"), True
        case dict():
            raise _NoTreeError(f"{path}[0]", "is neither an attribute nor the flag's key with one")
        case _:
            pass
    first = 0 if attribute is None else 1
    shares = [_share(node, f"{path}[{n}]") for n, node in enumerate(operands[first:], start=first)]
    return VariantSplit(tuple(shares), attribute, has_flag_key)


def _share(node: Any, path: str) -> VariantShare:
    variant: str | bool | None
    weight: int | UnsetType
    match node:
        case [str() | bool() | None as variant]:
            return VariantShare(variant, UNSET)
        case [str() | bool() | None as variant, int(weight)]:
            return VariantShare(variant, weight)
        case _:
            raise _NoTreeError(path, "is not a variant with a whole number")
