"""Write the tree that people edit as a targeting. The opposite of `rule_reader`."""

from typing import Any

from msgspec import UNSET

from app.evaluation.rule_tree import (
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
    VariantShare,
    VariantSplit,
)


def write(tree: Targeting) -> dict[str, Any]:
    """Return the targeting of a tree. A tree that `read` returned gives the same JSON."""
    if tree.shorthand is not None:
        return _condition(tree.shorthand)
    if not tree.rules:
        if isinstance(tree.otherwise, VariantSplit):
            return _split(tree.otherwise)
        return {} if tree.otherwise is UNSET else {"if": [tree.otherwise]}
    rest = [] if tree.otherwise is UNSET else [_outcome(tree.otherwise)]
    if tree.is_nested:
        for rule in reversed(tree.rules):
            rest = [{"if": [_condition(rule.condition), _outcome(rule.outcome), *rest]}]
        nested: dict[str, Any] = rest[0]
        return nested
    branches = [
        part for rule in tree.rules for part in (_condition(rule.condition), _outcome(rule.outcome))
    ]
    return {"if": [*branches, *rest]}


def _condition(condition: Condition) -> dict[str, Any]:
    match condition:
        case Comparison():
            return _comparison(condition)
        case ConditionGroup(kind, conditions):
            return {kind: [_condition(part) for part in conditions]}
        case Negation(negated, is_list):
            written = _condition(negated)
            return {"!": [written] if is_list else written}
        case DoubleNegation(doubled, is_list):
            written = _condition(doubled)
            return {"!!": [written] if is_list else written}
        case SegmentReference(key):
            return {"$ref": key}
        case FlagReference(key, variant):
            return {"flag": [key, variant]}


def _comparison(comparison: Comparison) -> dict[str, Any]:
    variable = _attribute(comparison.attribute)
    if comparison.operator is None:
        return variable
    if comparison.version_operator is not None:
        return {comparison.operator: [variable, comparison.version_operator, comparison.value]}
    if comparison.is_between:
        low, high = comparison.value
        return {comparison.operator: [low, variable, high]}
    operands = [variable, comparison.value]
    return {comparison.operator: operands[::-1] if comparison.is_reversed else operands}


def _attribute(attribute: Attribute) -> dict[str, Any]:
    if not attribute.is_list:
        return {"var": attribute.name}
    return {"var": [attribute.name, *([] if attribute.default is UNSET else [attribute.default])]}


def _outcome(outcome: Outcome) -> Any:
    return _split(outcome) if isinstance(outcome, VariantSplit) else outcome


def _split(split: VariantSplit) -> dict[str, Any]:
    by: list[Any] = []
    if split.attribute is not None:
        variable = _attribute(split.attribute)
        by = [{"cat": [{"var": "$flagd.flagKey"}, variable]} if split.has_flag_key else variable]
    return {"fractional": [*by, *map(_share, split.shares)]}


def _share(share: VariantShare) -> list[Any]:
    return [share.variant] if share.weight is UNSET else [share.variant, share.weight]
