"""Operators that decide: they return operands, not booleans, and evaluate what they must."""

from typing import Any

from app.evaluation.compiler import Build, Closure, Compiler, Node, Place, nothing, runs_of
from app.evaluation.run import Run
from app.evaluation.values import is_truthy


def _if(compiler: Compiler, raw: Any, place: Place) -> Node:
    runs = runs_of(compiler.arguments(raw, place))
    # Condition, consequence, condition, consequence, …, perhaps what else.
    otherwise = runs[-1] if len(runs) % 2 else nothing
    pairs = list(zip(runs[0:-1:2], runs[1::2], strict=False))
    if len(pairs) == 1:
        return Node(_either(*pairs[0], otherwise))

    def branch(data: Any, run: Run) -> Any:
        for condition, consequence in pairs:
            met = condition(data, run)
            if met is True or (met is not False and is_truthy(met)):
                return consequence(data, run)
        return otherwise(data, run)

    return Node(branch)


def _either(condition: Closure, consequence: Closure, otherwise: Closure) -> Closure:
    def either(data: Any, run: Run) -> Any:
        met = condition(data, run)
        if met is True or (met is not False and is_truthy(met)):
            return consequence(data, run)
        return otherwise(data, run)

    return either


def _and(compiler: Compiler, raw: Any, place: Place) -> Node:
    runs = runs_of(compiler.arguments(raw, place))

    def conjunction(data: Any, run: Run) -> Any:
        value = None
        for each in runs:
            value = each(data, run)
            if value is False or (value is not True and not is_truthy(value)):
                return value
        return value

    return Node(conjunction)


def _or(compiler: Compiler, raw: Any, place: Place) -> Node:
    runs = runs_of(compiler.arguments(raw, place))

    def disjunction(data: Any, run: Run) -> Any:
        value = None
        for each in runs:
            value = each(data, run)
            if value is True or (value is not False and is_truthy(value)):
                return value
        return value

    return Node(disjunction)


def _not(compiler: Compiler, raw: Any, place: Place) -> Node:
    first = _first(compiler, raw, place)
    return Node(lambda data, run: not is_truthy(first(data, run)))


def _truth(compiler: Compiler, raw: Any, place: Place) -> Node:
    first = _first(compiler, raw, place)
    return Node(lambda data, run: is_truthy(first(data, run)))


def _first(compiler: Compiler, raw: Any, place: Place) -> Closure:
    nodes = compiler.arguments(raw, place)
    return nodes[0].run if nodes else nothing


LOGIC: dict[str, Build] = {
    "if": _if,
    "?:": _if,
    "and": _and,
    "or": _or,
    "!": _not,
    "!!": _truth,
}
