"""Operators that calculate, in doubles. + and * read what a text begins with, the others all of it.

Nothing here fails: dividing by zero is infinite, and what is no number makes no number.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

from app.evaluation.compiler import Build, Compiler, eager
from app.evaluation.nodes import Location, Node, called, value_at
from app.evaluation.run import RuleError, Run
from app.evaluation.turns import linear_clock
from app.evaluation.values import NAN, parse_float, to_number


def _sum(run: Run, *values: Any) -> float:
    total = 0.0
    for value in values:
        total += parse_float(value, run)
    return total


def _product(run: Run, *values: Any) -> Any:
    if not values:
        raise RuleError("* needs an argument")
    # Of one value nothing is made, not even a number.
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
    """Return the remainder, which has the dividend's sign."""
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
    """Compile an operator that is linear in each argument, or with `by` in the first alone."""
    nodes = compiler.arguments(raw, location)
    made = called(function, nodes)
    clocks = [node for node in nodes if node.clock is not None]
    if len(clocks) != 1 or not all(node.clock or node.is_literal for node in nodes):
        return made
    if by and nodes[0].clock is None:
        return made
    return made._replace(clock=linear_clock(value_at(made)))


NUMBERS: dict[str, Build] = {
    "+": partial(_linear, _sum),
    "*": partial(_linear, _product),
    "-": partial(_linear, _difference),
    "/": partial(_linear, _quotient, by=True),
    "%": eager(_remainder),
    "max": eager(_largest),
    "min": eager(_smallest),
}
