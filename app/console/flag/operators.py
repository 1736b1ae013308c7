"""The operators that the editor offers, by the names in its form."""

from typing import NamedTuple

from app.console.flag.draft import NOT
from app.evaluation.rule_tree import Comparison
from app.evaluation.targeting import IN_LIST, VERSION_COMPARISONS

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
    "in_list": Operator("is in the list", "is not in the list", IN_LIST, ("text",), True),
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


def operator_of(comparison: Comparison) -> str:
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
