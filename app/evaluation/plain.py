"""Operators that are functions of their arguments' values: comparisons, numbers, texts."""

import math
import operator
from collections.abc import Callable
from functools import partial
from typing import Any

from app.evaluation.compiler import Build, Closure, Compiler, Node, Place, Run, runs_of
from app.evaluation.values import (
    NAN,
    RuleError,
    is_less,
    is_number,
    joined_text,
    loosely_equal,
    parse_float,
    strictly_equal,
    to_number,
    to_text,
)

TEXT_LENGTH_MAX = 65_536
_EXACT_MAX = 2**53


def _equal(left: Any = None, right: Any = None, *_: Any) -> bool:
    return loosely_equal(left, right)


def _same(left: Any = None, right: Any = None, *_: Any) -> bool:
    return strictly_equal(left, right)


def _less(left: Any = None, right: Any = None, *third: Any) -> bool:
    return is_less(left, right) and (not third or is_less(right, third[0]))


def _at_most(left: Any = None, right: Any = None, *third: Any) -> bool:
    met = is_less(left, right, or_equal=True)
    return met and (not third or is_less(right, third[0], or_equal=True))


def _greater(left: Any = None, right: Any = None, *_: Any) -> bool:
    return is_less(right, left)


def _at_least(left: Any = None, right: Any = None, *_: Any) -> bool:
    return is_less(right, left, or_equal=True)


def _sum(*values: Any) -> float:
    total: float = 0
    for value in values:
        total += parse_float(value)
    return _double(total)


def _product(*values: Any) -> Any:
    # Of one value nothing is made, not even a number.
    if not values:
        raise RuleError("* needs an argument")
    product = values[0]
    for value in values[1:]:
        product = _double(parse_float(product) * parse_float(value))
    return product


def _difference(left: Any = None, *right: Any) -> float:
    if not right:
        return -to_number(left)
    return _double(to_number(left) - to_number(right[0]))


def _quotient(left: Any = None, right: Any = None, *_: Any) -> float:
    first, second = _finite_pair(left, right)
    if second == 0:
        if first == 0 or math.isnan(first):
            return NAN
        return math.copysign(math.inf, first) * math.copysign(1, second)
    return first / second


def _remainder(left: Any = None, right: Any = None, *_: Any) -> float:
    first, second = _finite_pair(left, right)
    if second == 0 or math.isinf(first) or math.isnan(first) or math.isnan(second):
        return NAN
    return math.fmod(first, second)


def _finite_pair(left: Any, right: Any) -> tuple[float, float]:
    return float(to_number(left)), float(to_number(right))


def _largest(*values: Any) -> float:
    return _extreme(values, max, -math.inf)


def _smallest(*values: Any) -> float:
    return _extreme(values, min, math.inf)


def _extreme(values: tuple[Any, ...], of: Callable[..., float], none: float) -> float:
    numbers = [to_number(value) for value in values]
    if any(math.isnan(number) for number in numbers):
        return NAN
    return of(numbers, default=none)


def _cat(*values: Any) -> str:
    text = "".join([v if type(v) is str else joined_text(v) for v in values])
    if len(text) > TEXT_LENGTH_MAX:
        raise RuleError(f"a text has more than {TEXT_LENGTH_MAX} characters")
    return text


def _substr(source: Any = None, start: Any = None, length: Any = None, *_: Any) -> str:
    text = to_text(source)
    begin = _whole(start)
    rest = text[begin:] if begin >= 0 else text[max(0, len(text) + begin) :]
    if length is None:
        return rest
    end = _whole(length)
    # A negative length leaves out that many at the end.
    return rest[:end] if end >= 0 else rest[: max(0, len(rest) + end)]


def _whole(value: Any) -> int:
    number = to_number(value)
    if math.isnan(number):
        return 0
    return int(max(-_EXACT_MAX, min(_EXACT_MAX, number)))


def _double(number: float) -> float:
    return float(number) if abs(number) > _EXACT_MAX else number


def _build(
    function: Callable[..., Any],
    compiler: Compiler,
    raw: Any,
    place: Place,
) -> Node:
    return _called(function, runs_of(compiler.arguments(raw, place)))


def _called(function: Callable[..., Any], runs: list[Closure]) -> Node:
    if len(runs) == 1:
        only = runs[0]
        return Node(lambda data, run: function(only(data, run)))
    if len(runs) == 2:
        first, second = runs
        return Node(lambda data, run: function(first(data, run), second(data, run)))
    return Node(lambda data, run: function(*[each(data, run) for each in runs]))


def _equality(
    function: Callable[..., Any],
    compiler: Compiler,
    raw: Any,
    place: Place,
) -> Node:
    """Compile == and ===, in most rules of an attribute and a text, which needs no conversion."""
    nodes = compiler.arguments(raw, place)
    names = [node.attribute for node in nodes if node.attribute is not None]
    texts = [node.literal for node in nodes if isinstance(node.literal, str)]
    if len(nodes) == 2 and names and texts and compiler.observe is None:
        name, text = names[0], texts[0]

        def equal(data: Any, _run: Run) -> bool:
            value = data.get(name)
            return value == text if type(value) is str else bool(function(value, text))

        return Node(equal)
    first, second = (*runs_of(nodes), _nothing, _nothing)[:2]
    return Node(lambda data, run: function(first(data, run), second(data, run)))


def _order(
    function: Callable[..., Any],
    quick: Callable[[Any, Any], bool],
    compiler: Compiler,
    raw: Any,
    place: Place,
) -> Node:
    """Compile <, <=, > and >=, in most rules of an attribute and a number."""
    nodes = compiler.arguments(raw, place)
    if len(nodes) == 2 and nodes[0].attribute is not None and is_number(nodes[1].literal):
        name, number = nodes[0].attribute, nodes[1].literal

        def ordered(data: Any, _run: Run) -> bool:
            value = data.get(name)
            if type(value) is int or type(value) is float:
                return quick(value, number)
            return bool(function(value, number))

        if compiler.observe is None:
            return Node(ordered)
    return _called(function, runs_of(nodes))


def _nothing(_data: Any, _run: Run) -> None:
    return None


def _negated(function: Callable[..., bool]) -> Callable[..., bool]:
    return lambda *values: not function(*values)


PLAIN: dict[str, Build] = {
    "==": partial(_equality, _equal),
    "===": partial(_equality, _same),
    "<": partial(_order, _less, operator.lt),
    "<=": partial(_order, _at_most, operator.le),
    ">": partial(_order, _greater, operator.gt),
    ">=": partial(_order, _at_least, operator.ge),
    **{
        name: partial(_build, function)
        for name, function in {
            "!=": _negated(_equal),
            "!==": _negated(_same),
            "+": _sum,
            "*": _product,
            "-": _difference,
            "/": _quotient,
            "%": _remainder,
            "max": _largest,
            "min": _smallest,
            "cat": _cat,
            "substr": _substr,
        }.items()
    },
}
