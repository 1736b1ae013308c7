"""Conditions of the rule tree as parts of the form, and back."""

from typing import Any, Literal, NamedTuple

import msgspec

from app.console.flag.draft import NOT, DraftCondition, FieldRules
from app.console.flag.values import encode, parse_value, value_text
from app.evaluation.rule_reader import read
from app.evaluation.rule_tree import (
    Attribute,
    Comparison,
    Condition,
    ConditionGroup,
    DoubleNegation,
    Negation,
    SegmentReference,
    Targeting,
)
from app.evaluation.rule_writer import write
from app.evaluation.targeting import VERSION_COMPARISONS

_ANY = ("text", "number", "boolean", "json")
_LISTS = ("texts", "numbers", "json")


class Operator(NamedTuple):
    """An operator as people read it. `types` are the types of its value, the usual one first."""

    label: str
    negative: str
    operator: str | None
    types: tuple[str, ...] = ("text", "json")
    is_reversed: bool = False
    version_operator: str | None = None
    is_common: bool = True
    is_between: bool = False


OPERATORS = {
    "is": Operator("is", "is not (negated)", "==", _ANY),
    "is_not": Operator("is not", "is (negated twice)", "!=", _ANY),
    "in": Operator("is one of", "is not one of", "in", _LISTS),
    "contains": Operator("contains", "does not contain", "in", ("text", "number", "json"), True),
    "starts_with": Operator("starts with", "does not start with", "starts_with"),
    "ends_with": Operator("ends with", "does not end with", "ends_with"),
    "gt": Operator("greater than", "not greater than", ">", ("number", "text", "json")),
    "gte": Operator("at least", "not at least", ">=", ("number", "text", "json")),
    "lt": Operator("less than", "not less than", "<", ("number", "text", "json")),
    "lte": Operator("at most", "not at most", "<=", ("number", "text", "json")),
    "between": Operator("is between", "is not between", "<=", ("numbers", "json"), is_between=True),
    "set": Operator("is set", "is not set", None, ()),
    **{
        f"version{sign}": Operator(
            f"version {sign}", f"not version {sign}", "sem_ver", ("text",), version_operator=sign
        )
        for sign in VERSION_COMPARISONS
    },
    "inside": Operator(
        "is strictly between",
        "is not strictly between",
        "<",
        ("numbers", "json"),
        is_common=False,
        is_between=True,
    ),
    "same": Operator("is exactly", "is not exactly (negated)", "===", _ANY, is_common=False),
    "not_same": Operator("is not exactly", "is exactly (negated)", "!==", _ANY, is_common=False),
    "part_of": Operator(
        "is a part of", "is not a part of", "in", ("text", "number", "json"), is_common=False
    ),
    "start_of": Operator(
        "is the start of",
        "is not the start of",
        "starts_with",
        is_reversed=True,
        is_common=False,
    ),
    "end_of": Operator(
        "is the end of", "is not the end of", "ends_with", is_reversed=True, is_common=False
    ),
}
# Negations that have a better opposite, or none that a person needs.
_WITHOUT_NEGATION = {"is", "is_not", "gt", "gte", "lt", "lte", "same", "not_same"}
# The characters of `DraftCondition.form`.
_SIGNS = {
    (Negation, False): "!",
    (Negation, True): "[",
    (DoubleNegation, False): "?",
    (DoubleNegation, True): "{",
}
_NEGATIONS = {sign: negation for negation, sign in _SIGNS.items()}
_MIRRORED = {"<": "gt", "<=": "gte", ">": "lt", ">=": "lte"}


def is_offered(operator: str) -> bool:
    """Return whether the list of operators has this one for every condition."""
    name = operator.removeprefix(NOT)
    if not OPERATORS[name].is_common:
        return False
    return name == operator or not (name in _WITHOUT_NEGATION or name.startswith("version"))


def label_of(operator: str) -> str:
    name = operator.removeprefix(NOT)
    return OPERATORS[name].label if name == operator else OPERATORS[name].negative


OFFERED = tuple(
    operator for name in OPERATORS for operator in (name, NOT + name) if is_offered(operator)
)


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
        case _:
            draft = _draft_comparison(condition)
    draft.form = form
    if _is_negated(form):
        draft.operator = NOT + draft.operator
    return draft


def _draft_comparison(comparison: Comparison) -> DraftCondition:
    operator = _operator_of(comparison)
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


def _operator_of(comparison: Comparison) -> str:
    if comparison.version_operator is not None:
        return f"version{comparison.version_operator}"
    if comparison.is_between:
        return "between" if comparison.operator == "<=" else "inside"
    if comparison.operator == "in":
        is_list = isinstance(comparison.value, list)
        return "contains" if comparison.is_reversed else "in" if is_list else "part_of"
    if comparison.is_reversed and comparison.operator in _MIRRORED:
        return _MIRRORED[comparison.operator]
    for name, operator in OPERATORS.items():
        if operator.is_between or operator.operator != comparison.operator:
            continue
        if operator.is_reversed == comparison.is_reversed or operator.types == _ANY:
            return name
    raise AssertionError(comparison.operator)


def condition_of(draft: DraftCondition, path: str, errors: FieldRules) -> Condition:
    """Return the condition that a part of the form describes, and add its errors by field."""
    condition: Condition
    match draft.kind:
        case "segment":
            if not draft.segment.strip():
                errors[f"{path}.segment"].append("must not be empty")
            condition = SegmentReference(draft.segment.strip())
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
            value = parse_value(draft.type, draft.value)
        except ValueError as error:
            errors[f"{path}.value"].append(str(error))
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


def _source_of(draft: DraftCondition) -> Comparison | None:
    if not draft.source:
        return None
    try:
        tree = read(msgspec.json.decode(draft.source.encode()))
    except (msgspec.DecodeError, UnicodeEncodeError):
        return None
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


def count_conditions(draft: DraftCondition) -> int:
    """Return the number of conditions and groups."""
    return 1 + sum(map(count_conditions, draft.conditions))


def _line(text: str) -> str:
    """Return the text as an input of one line gives it back."""
    return "".join(char for char in text if char not in "\r\n").strip()
