"""Operators on arrays. What they do for each element is paid for before they do it."""

from collections.abc import Callable
from functools import partial
from typing import Any

from app.evaluation.compiler import Build, Closure, Compiler, Node, Place, Run, runs_of
from app.evaluation.values import RuleError, is_truthy, strictly_equal, to_text

ELEMENTS_MAX = 10_000

# Given the elements, the body and the run.
Loop = Callable[[list[Any], Closure, Run], Any]


def _map(elements: list[Any], body: Closure, run: Run) -> list[Any]:
    return [body(element, run) for element in elements]


def _filter(elements: list[Any], body: Closure, run: Run) -> list[Any]:
    return [element for element in elements if is_truthy(body(element, run))]


def _all(elements: list[Any], body: Closure, run: Run) -> bool:
    # Of nothing, not all are.
    return bool(elements) and all(is_truthy(body(element, run)) for element in elements)


def _some(elements: list[Any], body: Closure, run: Run) -> bool:
    return any(is_truthy(body(element, run)) for element in elements)


def _none(elements: list[Any], body: Closure, run: Run) -> bool:
    return not _some(elements, body, run)


def _loop(
    loop: Loop,
    compiler: Compiler,
    raw: Any,
    place: Place,
) -> Node:
    """Compile an operator that takes an array and a rule, which sees one element at a time."""
    parts = raw if isinstance(raw, list) else [raw]
    source = compiler.compile(parts[0] if parts else None, place.at(0)).run
    before = compiler.nodes
    wanted = parts[1] if len(parts) > 1 else None
    body = compiler.compile(wanted, place.at(1, is_scoped=True)).run
    cost = compiler.nodes - before

    def over_all(data: Any, run: Run) -> Any:
        elements = source(data, run)
        if not isinstance(elements, list):
            elements = []
        run.spend(len(elements) * cost)
        return loop(elements, body, run)

    return Node(over_all)


def _reduce(compiler: Compiler, raw: Any, place: Place) -> Node:
    parts = raw if isinstance(raw, list) else [raw]
    source = compiler.compile(parts[0] if parts else None, place.at(0)).run
    before = compiler.nodes
    wanted = parts[1] if len(parts) > 1 else None
    body = compiler.compile(wanted, place.at(1, is_scoped=True)).run
    cost = compiler.nodes - before
    last = parts[2] if len(parts) > 2 else None
    initial = compiler.compile(last, place.at(2)).run

    def fold(data: Any, run: Run) -> Any:
        elements, accumulator = source(data, run), initial(data, run)
        if not isinstance(elements, list):
            return accumulator
        run.spend(len(elements) * cost)
        for element in elements:
            accumulator = body({"current": element, "accumulator": accumulator}, run)
        return accumulator

    return Node(fold)


def _merge(compiler: Compiler, raw: Any, place: Place) -> Node:
    runs = runs_of(compiler.arguments(raw, place))

    def merge(data: Any, run: Run) -> list[Any]:
        merged: list[Any] = []
        for each in runs:
            value = each(data, run)
            merged += value if isinstance(value, list) else [value]
            if len(merged) > ELEMENTS_MAX:
                raise RuleError(f"a list has more than {ELEMENTS_MAX} elements")
        run.spend(len(merged) // 8)
        return merged

    return Node(merge)


def _in(compiler: Compiler, raw: Any, place: Place) -> Node:
    nodes = compiler.arguments(raw, place)
    if compiler.observe is None and len(nodes) == 2:
        shorter = _short_in(*nodes)
        if shorter is not None:
            return shorter
    first, second = (*runs_of(nodes), _nothing, _nothing)[:2]
    return Node(lambda data, run: _contains(second(data, run), first(data, run), run))


def _short_in(wanted: Node, container: Node) -> Node | None:
    """Return the shorter way: an attribute among texts, or a text within an attribute."""
    name = wanted.attribute
    among = container.literal
    if name is not None and isinstance(among, list) and all(type(t) is str for t in among):
        texts = frozenset(among)

        def is_among(data: Any, _run: Run) -> bool:
            value = data.get(name)
            # Any other type is none of them, as `in` compares strictly.
            return type(value) is str and value in texts

        return Node(is_among)
    within, text = container.attribute, wanted.literal
    if within is not None and isinstance(text, str):

        def is_within(data: Any, run: Run) -> bool:
            value = data.get(within)
            if type(value) is str and len(value) < 256:
                return text in value
            return _contains(value, text, run)

        return Node(is_within)
    return None


def _contains(container: Any, wanted: Any, run: Run) -> bool:
    if isinstance(container, str):
        run.spend(len(container) // 64)
        return bool(container) and to_text(wanted) in container
    if isinstance(container, list):
        run.spend(len(container))
        return any(strictly_equal(element, wanted) for element in container)
    return False


def _nothing(_data: Any, _run: Run) -> None:
    return None


ARRAYS: dict[str, Build] = {
    "map": partial(_loop, _map),
    "filter": partial(_loop, _filter),
    "all": partial(_loop, _all),
    "none": partial(_loop, _none),
    "some": partial(_loop, _some),
    "reduce": _reduce,
    "merge": _merge,
    "in": _in,
}
