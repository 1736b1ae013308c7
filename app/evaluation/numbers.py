"""The arithmetic operators, on doubles.

+ and * parse the number at the start of a string; the others convert the whole string. None of them
fails: division by zero gives an infinity, and an operand that is no number gives NaN.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

from app.evaluation.compiler import Build, Compiler, eager
from app.evaluation.nodes import Location, Node, called, value_at
from app.evaluation.run import RuleError, Run
from app.evaluation.transitions import linear_clock
from app.evaluation.values import NAN, parse_float, to_number


def _sum(run: Run, *values: Any) -> float:
    total = 0.0
    for value in values:
        total += parse_float(value, run)
    return total


def _product(run: Run, *values: Any) -> Any:
    if not values:
        raise RuleError("a product needs an argument")
    # A single operand is returned unchanged, not even converted to a number.
    product = values[0]
    for value in values[1:]:
        product = parse_float(product, run) * parse_float(value, run)
    return product


def _difference(run: Run, left: Any = NAN, *right: Any) -> float:
    if not right:
        return -to_number(left, run)
    return to_number(left, run) - to_number(right[0], run)


def _quotient(run: Run, left: Any = NAN, right: Any = NAN, *_: Any) -> float:
    dividend, divisor = to_number(left, run), to_number(right, run)
    if divisor == 0:
        if dividend == 0 or math.isnan(dividend):
            return NAN
        return math.copysign(math.inf, dividend) * math.copysign(1, divisor)
    return dividend / divisor


def _remainder(run: Run, left: Any = NAN, right: Any = NAN, *_: Any) -> float:
    """Return the remainder, with the sign of the dividend."""
    dividend, divisor = to_number(left, run), to_number(right, run)
    if divisor == 0 or math.isinf(dividend):
        return NAN
    return math.fmod(dividend, divisor)


def _largest(run: Run, *values: Any) -> float:
    numbers = [to_number(value, run) for value in values]
    return NAN if any(map(math.isnan, numbers)) else max(numbers, default=-math.inf)


def _smallest(run: Run, *values: Any) -> float:
    numbers = [to_number(value, run) for value in values]
    return NAN if any(map(math.isnan, numbers)) else min(numbers, default=math.inf)


def _linear(
    function: Callable[..., Any],
    compiler: Compiler,
    raw: Any,
    location: Location,
    *,
    by: bool = False,
) -> Node:
    """Compile an operator that is linear in each argument, or only in the first (`by`)."""
    nodes = compiler.arguments(raw, location)
    node = called(function, nodes)
    clocks = [argument for argument in nodes if argument.clock is not None]
    if len(clocks) != 1 or not all(item.clock or item.is_literal for item in nodes):
        return node
    if by and nodes[0].clock is None:
        return node
    return node._replace(clock=linear_clock(value_at(node)))


NUMBERS: dict[str, Build] = {
    "+": partial(_linear, _sum),
    "*": partial(_linear, _product),
    "-": partial(_linear, _difference),
    "/": partial(_linear, _quotient, by=True),
    "%": eager(_remainder),
    "max": eager(_largest),
    "min": eager(_smallest),
}
