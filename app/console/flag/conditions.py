"""Conditions of the rule tree as parts of the form, and back."""

from typing import Any, Literal

import msgspec

from app.console.flag.draft import NOT, DraftCondition, FieldRules
from app.console.flag.operators import OPERATORS, operator_of
from app.console.flag.values import decode, encode, parse_value, split_values, value_text
from app.evaluation.rule_reader import read
from app.evaluation.rule_tree import (
    Attribute,
    Comparison,
    Condition,
    ConditionGroup,
    DoubleNegation,
    FlagReference,
    Negation,
    SegmentReference,
    Targeting,
)
from app.evaluation.rule_writer import write

# The characters of `DraftCondition.form`.
_SIGNS = {
    (Negation, False): "!",
    (Negation, True): "[",
    (DoubleNegation, False): "?",
    (DoubleNegation, True): "{",
}
_NEGATIONS = {sign: negation for negation, sign in _SIGNS.items()}


def draft_condition(condition: Condition) -> DraftCondition:
    form = ""
    while isinstance(condition, Negation | DoubleNegation):
        form += _SIGNS[type(condition), condition.is_list]
        condition = condition.condition
    match condition:
        case ConditionGroup(kind, conditions):
            parts = list(map(draft_condition, conditions))
            source = "" if parts else kind
            draft = DraftCondition(kind="group", operator=kind, conditions=parts, source=source)
        case SegmentReference(key):
            draft = DraftCondition(kind="segment", operator="in", segment=key, source=key)
        case FlagReference(key, variant):
            draft = DraftCondition(kind="flag", operator="gives", flag=key, value=variant)
        case _:
            draft = _draft_comparison(condition)
    draft.form = form
    if _is_negated(form):
        draft.operator = NOT + draft.operator
    return draft


def _draft_comparison(comparison: Comparison) -> DraftCondition:
    operator = operator_of(comparison)
    type_, text = "", ""
    if comparison.operator is not None:
        type_, text = value_text(comparison.value, OPERATORS[operator].types)
    return DraftCondition(
        attribute=_line(comparison.attribute.name),
        operator=operator,
        type=type_,
        value=text,
        source=encode(write(Targeting(shorthand=comparison))),
    )


def condition_of(draft: DraftCondition, path: str, errors: FieldRules) -> Condition:
    """Return the condition that a part of the form describes, and add its errors by field."""
    condition: Condition
    match draft.kind:
        case "segment":
            if not draft.segment.strip():
                errors[f"{path}.segment"].append("must not be empty")
            condition = SegmentReference(draft.segment.strip())
        case "flag":
            condition = _flag_of(draft, path, errors)
        case "group":
            kind: Literal["and", "or"] = "or" if draft.base_operator == "or" else "and"
            parts = [
                condition_of(part, f"{path}.conditions.{n}", errors)
                for n, part in enumerate(draft.conditions)
            ]
            if not parts and not draft.source:
                errors[path].append("must have at least one condition")
            condition = ConditionGroup(kind, tuple(parts))
        case "compare":
            condition = _comparison_of(draft, path, errors)
    form = draft.form
    if _is_negated(form) != draft.is_negated:
        form = "!" if draft.is_negated else ""
    for sign in reversed(form):
        condition = _negated(condition, sign)
    return condition


def _flag_of(draft: DraftCondition, path: str, errors: FieldRules) -> FlagReference:
    for name, text in (("flag", draft.flag), ("value", draft.value)):
        if not text.strip():
            errors[f"{path}.{name}"].append("must not be empty")
    return FlagReference(draft.flag.strip(), draft.value)


def _negated(condition: Condition, sign: str) -> Condition:
    kind, is_list = _NEGATIONS.get(sign, (Negation, False))
    if kind is Negation:
        return Negation(condition, is_list=is_list)
    return DoubleNegation(condition, is_list=is_list)


def _is_negated(form: str) -> bool:
    return sum(form.count(_SIGNS[Negation, is_list]) for is_list in (False, True)) % 2 == 1


def _comparison_of(draft: DraftCondition, path: str, errors: FieldRules) -> Comparison:
    source = _source_of(draft)
    was = _draft_comparison(source) if source is not None else DraftCondition()
    operator = OPERATORS[draft.base_operator]
    name = draft.attribute.strip()
    if source is not None and draft.attribute == was.attribute:
        attribute = source.attribute
    else:
        attribute = Attribute(name)
        if not name:
            errors[f"{path}.attribute"].append("must not be empty")
    value: Any = None
    if source is not None and (draft.type, draft.value) == (was.type, was.value):
        value = source.value
    elif operator.operator is not None:
        try:
            value = parse_value(draft.type, _typed_value(draft, source))
        except ValueError as error:
            errors[f"{path}.value"].append(str(error))
        # A stored empty list remains, and JSON can say that none matches on purpose.
        if draft.type in ("texts", "numbers") and value == [] and not operator.is_between:
            errors[f"{path}.value"].append("must have at least one value")
        if operator.is_between and not (isinstance(value, list) and len(value) == 2):
            errors[f"{path}.value"].append("must be two values, the lower one first")
            value = [None, None]
    if source is not None and draft.base_operator == was.operator:
        return msgspec.structs.replace(source, attribute=attribute, value=value)
    return Comparison(
        attribute,
        operator.operator,
        value if operator.operator is not None else None,
        version_operator=operator.version_operator,
        is_reversed=operator.is_reversed,
        is_between=operator.is_between,
    )


def _typed_value(draft: DraftCondition, source: Comparison | None) -> str:
    if draft.type != "texts":
        return draft.value
    return split_values(draft.value, source.value if source is not None else None)


def _source_of(draft: DraftCondition) -> Comparison | None:
    tree = read(decode(draft.source))
    condition = tree.shorthand if isinstance(tree, Targeting) else None
    return condition if isinstance(condition, Comparison) else None


def fit_condition(draft: DraftCondition) -> None:
    """Give the value a type that the operator takes, after the operator was changed."""
    for part in draft.conditions:
        fit_condition(part)
    if draft.kind == "compare":
        types = OPERATORS[draft.base_operator].types
        if types and draft.type not in types:
            if draft.type in ("texts", "numbers") and types[0] == "text":
                draft.value = draft.value.split("\n", 1)[0]
            draft.type = types[0]
        if "," in draft.value:
            draft.value = _typed_value(draft, _source_of(draft))


def count_conditions(draft: DraftCondition) -> int:
    """Return the number of conditions and groups."""
    return 1 + sum(map(count_conditions, draft.conditions))


def _line(text: str) -> str:
    """Return the text as a browser sends it from a one-line input."""
    return "".join(char for char in text if char not in "\r\n").strip()
