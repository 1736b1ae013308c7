"""The operators that compare: loosely, strictly and by order. A missing operand is NaN."""

import operator
from collections.abc import Callable
from functools import partial
from typing import Any

from app.evaluation.compiler import Build, Compiler
from app.evaluation.nodes import MISSING, Location, Node, TextTest, called
from app.evaluation.run import TEXT_FREE, Run
from app.evaluation.transitions import SECONDS
from app.evaluation.values import (
    EXACT_MAX,
    NAN,
    is_less,
    is_number,
    loosely_equal,
    strictly_equal,
    to_number,
)

# Called with the run and the values of the arguments.
Comparison = Callable[..., bool]


def _equal(run: Run, left: Any = None, right: Any = None, *_: Any) -> bool:
    return loosely_equal(left, right, run)


def _unequal(run: Run, left: Any = None, right: Any = None, *_: Any) -> bool:
    return not loosely_equal(left, right, run)


def _same(run: Run, left: Any = MISSING, right: Any = MISSING, *_: Any) -> bool:
    return strictly_equal(left, right, run)


def _different(run: Run, left: Any = MISSING, right: Any = MISSING, *_: Any) -> bool:
    return not strictly_equal(left, right, run)


def _less(run: Run, left: Any = NAN, right: Any = NAN, *third: Any) -> bool:
    return is_less(left, right, run) and (not third or is_less(right, third[0], run))


def _at_most(run: Run, left: Any = NAN, right: Any = NAN, *third: Any) -> bool:
    is_met = is_less(left, right, run, or_equal=True)
    return is_met and (not third or is_less(right, third[0], run, or_equal=True))


def _greater(run: Run, left: Any = NAN, right: Any = NAN, *_: Any) -> bool:
    return is_less(right, left, run)


def _at_least(run: Run, left: Any = NAN, right: Any = NAN, *_: Any) -> bool:
    return is_less(right, left, run, or_equal=True)


def _equality(compare: Comparison, compiler: Compiler, raw: Any, location: Location) -> Node:
    """Compile == or ===, with a fast path for an attribute and a literal string."""
    nodes = compiler.arguments(raw, location)
    names = [node.attribute for node in nodes if node.attribute is not None]
    texts = [node.literal for node in nodes if isinstance(node.literal, str)]
    if len(nodes) != 2 or not names or not texts or len(texts[0]) > TEXT_FREE:
        return _compared(compare, compiler, nodes)
    name, text = names[0], texts[0]

    def equal(data: Any, run: Run) -> bool:
        value = data.get(name)
        return value == text if type(value) is str else compare(run, value, text)

    return Node(equal, text_test=TextTest(name, frozenset([text])))


def _order(
    compare: Comparison,
    of_numbers: Callable[[Any, Any], bool],
    compiler: Compiler,
    raw: Any,
    location: Location,
) -> Node:
    """Compile <, <=, > or >=, with a fast path for an attribute and a literal number."""
    nodes = compiler.arguments(raw, location)
    if len(nodes) != 2 or nodes[0].attribute is None or not _is_exact(nodes[1].literal):
        compared = _compared(compare, compiler, nodes)
        is_before = compare is _less and len(nodes) == 2 and nodes[0].clock == SECONDS
        end = nodes[1].literal if is_before else None
        return compared._replace(before=end) if type(end) is int else compared
    name, number = nodes[0].attribute, nodes[1].literal

    def ordered(data: Any, run: Run) -> bool:
        value = data.get(name)
        if type(value) is int or type(value) is float:
            return of_numbers(value, number)
        return compare(run, value, number)

    return Node(ordered)


def _inequality(compare: Comparison, compiler: Compiler, raw: Any, location: Location) -> Node:
    return _compared(compare, compiler, compiler.arguments(raw, location))


def _compared(compare: Comparison, compiler: Compiler, nodes: list[Node]) -> Node:
    """Compile any comparison, and record when a comparison with the clock changes."""
    compared = called(compare, nodes)
    if any(node.clock is not None for node in nodes):
        fixed = [to_number(node.literal, Run({}, 0)) for node in nodes if node.is_literal]
        compiler.add_transitions(nodes, fixed, compared)
    return compared


def _is_exact(value: Any) -> bool:
    """Return whether Python compares every integer with this number as JavaScript does."""
    return is_number(value) and abs(value) < EXACT_MAX


COMPARISONS: dict[str, Build] = {
    "==": partial(_equality, _equal),
    "===": partial(_equality, _same),
    "!=": partial(_inequality, _unequal),
    "!==": partial(_inequality, _different),
    "<": partial(_order, _less, operator.lt),
    "<=": partial(_order, _at_most, operator.le),
    ">": partial(_order, _greater, operator.gt),
    ">=": partial(_order, _at_least, operator.ge),
}
