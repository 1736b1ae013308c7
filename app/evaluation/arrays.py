"""Operators on arrays. What they do for each element is paid for before they do it."""

from collections.abc import Callable
from functools import partial
from typing import Any

from app.evaluation.compiler import Build, Compiler
from app.evaluation.members import Members, members_of
from app.evaluation.nodes import Among, Closure, Location, Node, called, runs_of
from app.evaluation.run import STEPS_MAX, TEXT_FREE, RuleError, Run
from app.evaluation.values import is_truthy, strictly_equal, to_text

# Elements that are copied in the time of a step.
_COPIED = 16
# CPython searches shorter texts without preparation, whatever is wanted.
_SEARCHED_PLAINLY = 2_500

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


def _loop(loop: Loop, compiler: Compiler, raw: Any, location: Location) -> Node:
    """Compile an operator that takes an array and a rule, which sees one element at a time."""
    source, body, cost, _ = _parts(compiler, raw, location)

    def over_all(data: Any, run: Run) -> Any:
        elements = source(data, run)
        if not isinstance(elements, list):
            elements = []
        run.spend(len(elements) * cost)
        return loop(elements, body, run)

    return Node(over_all)


def _reduce(compiler: Compiler, raw: Any, location: Location) -> Node:
    source, body, cost, initial = _parts(compiler, raw, location)

    def fold(data: Any, run: Run) -> Any:
        elements, accumulator = source(data, run), initial(data, run)
        if not isinstance(elements, list):
            return accumulator
        run.spend(len(elements) * cost)
        for element in elements:
            accumulator = body({"current": element, "accumulator": accumulator}, run)
        return accumulator

    return Node(fold)


def _parts(
    compiler: Compiler, raw: Any, location: Location
) -> tuple[Closure, Closure, int, Closure]:
    """Return the array, the body and what it costs for an element, and a third argument."""
    parts = raw if isinstance(raw, list) else [raw]
    array, body, third = (*parts, None, None, None)[:3]
    source = compiler.compile(array, location.at(0))
    before = compiler.nodes
    compiled = compiler.compile(body, location.at(1, is_scoped=True)).run
    cost = compiler.nodes - before
    if isinstance(source.literal, list) and len(source.literal) * cost > STEPS_MAX:
        raise RuleError(f"{location.path}: the loop over a fixed list takes too many steps")
    return source.run, compiled, cost, compiler.compile(third, location.at(2)).run


def _merge(compiler: Compiler, raw: Any, location: Location) -> Node:
    runs = runs_of(compiler.arguments(raw, location))

    def merge(data: Any, run: Run) -> list[Any]:
        merged: list[Any] = []
        for each in runs:
            value = each(data, run)
            if isinstance(value, list):
                run.spend(len(value) // _COPIED)
                merged += value
            else:
                merged.append(value)
        return merged

    return Node(merge)


def _in(compiler: Compiler, raw: Any, location: Location) -> Node:
    nodes = compiler.arguments(raw, location)
    if len(nodes) == 2:
        wanted, container = nodes
        members = members_of(container.literal)
        if members is not None:
            return _among(wanted, members)
        if container.attribute is not None and _is_short(wanted.literal):
            return _within(container.attribute, wanted.literal)
    return called(_contains, nodes)


def _is_short(value: Any) -> bool:
    """Tell whether a value is a text that is read for nothing."""
    return isinstance(value, str) and len(value) <= TEXT_FREE


def _among(wanted: Node, members: Members) -> Node:
    """Return whether a value is one of the members."""
    read, name = wanted.run, wanted.attribute
    if not members.are_texts or name is None:
        return Node(lambda data, run: members.has(read(data, run)))

    def attribute_among(data: Any, _run: Run) -> bool:
        value = data.get(name)
        return type(value) is str and value in members.texts

    return Node(attribute_among, among=Among(name, members.texts))


def _within(name: str, text: str) -> Node:
    """Return whether a text is within an attribute."""

    def within(data: Any, run: Run) -> bool:
        value = data.get(name)
        if type(value) is str and len(value) <= TEXT_FREE:
            # Nothing is not within nothing, in a rule.
            return text in value and value != ""
        return _contains(run, text, value)

    return Node(within)


def _contains(run: Run, wanted: Any = None, container: Any = None, *_: Any) -> bool:
    if isinstance(container, str):
        text = to_text(wanted, run)
        _pay_for_search(text, container, run)
        return container != "" and text in container
    if isinstance(container, list):
        run.spend(len(container))
        return any(strictly_equal(each, wanted, run) for each in container)
    return False


def _pay_for_search(wanted: str, text: str, run: Run) -> None:
    """Pay for the worst case: a comparison of all that is wanted at every position.

    Python's search takes time in proportion to both lengths where one of them is short, and else to
    their sum.
    """
    if len(text) > TEXT_FREE:
        compared = len(wanted) if len(text) < _SEARCHED_PLAINLY else min(len(wanted), 100)
        run.spend(len(text) * (12 + compared) // 2048)


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
