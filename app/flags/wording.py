"""Say in words what a flag serves to whom."""

import time
from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import Any

from msgspec import UNSET

from app.evaluation.needs import prerequisites_of
from app.evaluation.plans.compiling import definition_at
from app.evaluation.rule_reader import read
from app.evaluation.rule_tree import (
    Advanced,
    Comparison,
    Condition,
    ConditionGroup,
    DoubleNegation,
    FlagReference,
    Negation,
    Outcome,
    SegmentReference,
    VariantSplit,
)
from app.evaluation.targeting import IN_LIST
from app.names import counted

_OPERATORS = {
    "==": "is",
    "===": "is",
    "!=": "is not",
    "!==": "is not",
    "starts_with": "starts with",
    "ends_with": "ends with",
}


def describe(definition: Any) -> Iterator[str]:
    """Yield one line for each rule of a flag that is in force now, and one for all other contexts.

    A lenient import may have stored any JSON.
    """
    flag = in_force(definition) if isinstance(definition, dict) else {"targeting": definition}
    if flag.get("state") == "DISABLED":
        yield "disabled: each program uses the default in its own code"
        return
    default = flag.get("defaultVariant")
    tree = read(flag.get("targeting") or {})
    if isinstance(tree, Advanced):
        yield "the rules have no short form; read them as JSON"
        return
    if tree.shorthand is not None:
        yield f"true if {condition_text(tree.shorthand)}, else false"
        return
    for rule in tree.rules:
        yield f"{outcome_text(rule.outcome, default)} if {condition_text(rule.condition)}"
    rest = None if tree.otherwise is UNSET else tree.otherwise
    yield f"{outcome_text(rest, default)} for all{' others' if tree.rules else ''}"


def summarize(definition: Any) -> tuple[str, str]:
    """Return the state of a flag in a word, and in short what it serves.

    The state is `on` or `off` for a flag that serves true or false to all, else `enabled`, or
    `disabled`.
    """
    lines = list(describe(definition))
    flag = in_force(definition) if isinstance(definition, dict) else {}
    if flag.get("state") == "DISABLED":
        return "disabled", lines[0].removeprefix("disabled: ")
    *rules, rest = lines
    served = f"{counted(len(rules), 'rule')}; {rest}" if rules else rest
    needed = prerequisites_text(flag)
    if needed:
        return "enabled", f"{needed}; {served}"
    variants = flag.get("variants")
    default = flag.get("defaultVariant")
    value = variants.get(default) if isinstance(variants, dict) else None
    if isinstance(value, bool) and not flag.get("targeting"):
        return "on" if value else "off", served
    return "enabled", served


def in_force(definition: Mapping[str, Any]) -> dict[str, Any]:
    """Return the definition without a plan, as the plan has it at this second."""
    return dict(definition_at(definition, int(time.time())))


def prerequisites_text(definition: Any) -> str:
    """Return which variants other flags must give, and what happens otherwise; empty if none."""
    flag = definition if isinstance(definition, dict) else {}
    needs = [f"{need.flag} gives {need.variant}" for need in prerequisites_of(flag)]
    if not needs or flag.get("state") == "DISABLED":
        return ""
    off = variant_text(flag.get("offVariant"), flag.get("defaultVariant"))
    return f"{off} unless {' and '.join(needs)}"


def condition_text(condition: Condition) -> str:
    match condition:
        case ConditionGroup(kind, conditions):
            return f" {kind} ".join(map(_inner_text, conditions))
        case DoubleNegation(doubled):
            return condition_text(doubled)
        case Negation(negated):
            return f"not ({condition_text(negated)})"
        case SegmentReference(key):
            return f"in segment {key}"
        case FlagReference(key, variant):
            return f"{key} gives {variant}"
        case Comparison():
            return _comparison_text(condition)


def _inner_text(condition: Condition) -> str:
    while isinstance(condition, DoubleNegation):
        condition = condition.condition
    text = condition_text(condition)
    return f"({text})" if isinstance(condition, ConditionGroup) else text


def _comparison_text(comparison: Comparison) -> str:
    name, value = comparison.attribute.name, comparison.value
    if comparison.operator is None:
        return f"{name} is set"
    if comparison.version_operator is not None:
        return f"version {name} {comparison.version_operator} {value}"
    if comparison.operator == IN_LIST:
        return f"{name} is in the list {value}"
    if comparison.operator == "in" and comparison.is_reversed:
        return f"{name} contains {_constant_text(value)}"
    if comparison.operator == "in":
        items = value if isinstance(value, list) else [value]
        return f"{name} is one of {', '.join(map(item_text, items)) or '(nothing)'}"
    return _operator_text(_OPERATORS.get(comparison.operator, comparison.operator), comparison)


def _operator_text(operator: str, comparison: Comparison) -> str:
    name, value = comparison.attribute.name, comparison.value
    if comparison.is_between:
        low, high = map(value_text, value)
        return f"{low} {operator} {name} {operator} {high}"
    if comparison.is_reversed:
        return f"{_constant_text(value)} {operator} {name}"
    return f"{name} {operator} {_constant_text(value)}"


def item_text(value: Any) -> str:
    """Return a value of a list: in quotes if it has a comma, or is empty."""
    return f'"{value}"' if isinstance(value, str) and "," in value else _constant_text(value)


def _constant_text(value: Any) -> str:
    return value_text(value) if value != "" else '""'


def value_text(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case _:
            return str(value)


def outcome_text(outcome: Outcome, default: Any) -> str:
    if isinstance(outcome, VariantSplit):
        total = total_parts(outcome)
        parts = (
            f"{percent_text(Fraction(max(0, share.parts), total or 1))}"
            f" {variant_text(share.variant, default)}"
            for share in outcome.shares
        )
        attribute = outcome.attribute
        by = "targetingKey" if attribute is None else attribute.name
        return f"{', '.join(parts)} by {by}"
    return variant_text(outcome, default)


def total_parts(split: VariantSplit) -> int:
    """Return the sum of the weights. A negative one counts as 0, as in an evaluation."""
    return sum(max(0, share.parts) for share in split.shares)


def variant_text(variant: Any, default: Any) -> str:
    return value_text(default or "no value" if variant is None else variant)


def percent_text(share: Fraction) -> str:
    return f"{float(100 * share):.3f}".rstrip("0").rstrip(".") + " %"
