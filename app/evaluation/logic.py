"""The logical operators. They return operands, not booleans, and evaluate only what they need."""

from bisect import bisect_right
from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from typing import Any

from app.evaluation.choices import choice_at, choice_of_if, choice_of_if_at
from app.evaluation.compiler import Build, Compiler
from app.evaluation.nodes import Closure, Location, Node, TextTest, literal, nothing, runs_of
from app.evaluation.run import Run
from app.evaluation.values import is_truthy


def _if(compiler: Compiler, raw: Any, location: Location) -> Node:
    nodes = _parts_of_if(compiler, raw, location)
    # Condition, result, condition, result, …, and optionally the default.
    otherwise = nodes.pop() if len(nodes) % 2 else literal(None)
    if location.is_result and not otherwise.is_resolved:
        otherwise = compiler.resolved(otherwise)
    pairs = list(zip(nodes[::2], nodes[1::2], strict=True))
    return chosen(pairs, otherwise) if location.is_result else _chosen(pairs, otherwise)


def chosen(pairs: Sequence[tuple[Node, Node]], otherwise: Node) -> Node:
    """Compile conditions and the resolved answers of a flag as a rule."""
    node, ends = _chosen(pairs, otherwise), _ends(pairs)
    if ends:
        nodes = [*(consequence for _, consequence in pairs), otherwise]
        return node._replace(
            is_resolved=True,
            choice_at=lambda now: choice_at(nodes[bisect_right(ends, now)], now),
        )
    is_timed = any(part.choice_at is not None for part in (otherwise, *(part for _, part in pairs)))
    return node._replace(
        is_resolved=True,
        choice=choice_of_if(pairs, otherwise),
        choice_at=partial(choice_of_if_at, pairs, otherwise) if is_timed else None,
    )


def _ends(pairs: Sequence[tuple[Node, Node]]) -> Sequence[int]:
    """Return the instants of conditions that only ask whether the time is before growing ones."""
    ends = [condition.before for condition, _ in pairs if condition.before is not None]
    is_growing = all(end < following for end, following in pairwise(ends))
    return ends if len(ends) == len(pairs) and is_growing else ()


def _chosen(pairs: Sequence[tuple[Node, Node]], otherwise: Node) -> Node:
    if ends := _ends(pairs):
        runs = [*(consequence.run for _, consequence in pairs), otherwise.run]
        return Node(lambda data, run: runs[bisect_right(ends, run.now)](data, run))
    return _either(*pairs[0], otherwise) if len(pairs) == 1 else _first_met(pairs, otherwise)


def _parts_of_if(compiler: Compiler, raw: Any, location: Location) -> list[Node]:
    if not isinstance(raw, list):
        return [compiler.compile(raw, location)]
    last = len(raw) - 1
    nodes = []
    for position, part in enumerate(raw):
        is_consequence = position % 2 == 1 or position == last
        here = location.at(position, is_result=location.is_result and is_consequence)
        if location.is_result and not is_consequence:
            nodes.append(compiler.compile_shared(part, here))
        else:
            nodes.append(compiler.compile(part, here))
    return nodes


def _first_met(pairs: Sequence[tuple[Node, Node]], otherwise: Node) -> Node:
    """Compile a choice of many branches as a loop; nested closures would be as many calls deep."""
    last = otherwise.run
    if all(consequence.is_literal for _, consequence in pairs):
        return Node(_first_of_values([(met.run, value.literal) for met, value in pairs], last))
    runs = [(condition.run, consequence.run) for condition, consequence in pairs]

    def first_met(data: Any, run: Run) -> Any:
        for condition, consequence in runs:
            met = condition(data, run)
            if met is True or (met is not False and is_truthy(met)):
                return consequence(data, run)
        return last(data, run)

    return Node(first_met)


def _first_of_values(pairs: Sequence[tuple[Closure, Any]], otherwise: Closure) -> Closure:
    def first_met(data: Any, run: Run) -> Any:
        for condition, consequence in pairs:
            met = condition(data, run)
            if met is True or (met is not False and is_truthy(met)):
                return consequence
        return otherwise(data, run)

    return first_met


def _either(condition: Node, consequence: Node, otherwise: Node) -> Node:
    """Compile a choice of two branches. Literals and tests on strings need no further call."""
    if not consequence.is_literal:
        return Node(_of_calls(condition.run, consequence.run, otherwise.run))
    if not otherwise.is_literal:
        return Node(_of_value_or_call(condition.run, consequence.literal, otherwise.run))
    chosen = _of_values(condition.run, consequence.literal, otherwise.literal)
    if condition.text_test is None:
        return Node(chosen)
    return Node(_of_texts(condition.text_test, chosen, consequence.literal, otherwise.literal))


def _of_calls(condition: Closure, consequence: Closure, otherwise: Closure) -> Closure:
    def either(data: Any, run: Run) -> Any:
        met = condition(data, run)
        if met is True or (met is not False and is_truthy(met)):
            return consequence(data, run)
        return otherwise(data, run)

    return either


def _of_value_or_call(condition: Closure, consequence: Any, otherwise: Closure) -> Closure:
    def either(data: Any, run: Run) -> Any:
        met = condition(data, run)
        if met is True or (met is not False and is_truthy(met)):
            return consequence
        return otherwise(data, run)

    return either


def _of_values(condition: Closure, consequence: Any, otherwise: Any) -> Closure:
    def either(data: Any, run: Run) -> Any:
        met = condition(data, run)
        return consequence if met is True or (met is not False and is_truthy(met)) else otherwise

    return either


def _of_texts(text_test: TextTest, of_others: Closure, consequence: Any, otherwise: Any) -> Closure:
    name, texts = text_test

    def either(data: Any, run: Run) -> Any:
        value = data.get(name)
        if type(value) is str:
            return consequence if value in texts else otherwise
        return of_others(data, run)

    return either


def _and(compiler: Compiler, raw: Any, location: Location) -> Node:
    runs = runs_of(compiler.arguments(raw, location))

    def conjunction(data: Any, run: Run) -> Any:
        value = None
        for closure in runs:
            value = closure(data, run)
            if value is False or (value is not True and not is_truthy(value)):
                return value
        return value

    return Node(conjunction)


def _or(compiler: Compiler, raw: Any, location: Location) -> Node:
    runs = runs_of(compiler.arguments(raw, location))

    def disjunction(data: Any, run: Run) -> Any:
        value = None
        for closure in runs:
            value = closure(data, run)
            if value is True or (value is not False and is_truthy(value)):
                return value
        return value

    return Node(disjunction)


def _not(compiler: Compiler, raw: Any, location: Location) -> Node:
    first = _first(compiler, raw, location)
    return Node(lambda data, run: not is_truthy(first(data, run)))


def _truth(compiler: Compiler, raw: Any, location: Location) -> Node:
    first = _first(compiler, raw, location)
    return Node(lambda data, run: is_truthy(first(data, run)))


def _first(compiler: Compiler, raw: Any, location: Location) -> Closure:
    nodes = compiler.arguments(raw, location)
    return nodes[0].run if nodes else nothing


LOGIC: dict[str, Build] = {
    "if": _if,
    "?:": _if,
    "and": _and,
    "or": _or,
    "!": _not,
    "!!": _truth,
}
