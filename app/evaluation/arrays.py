"""The operators on arrays. A loop spends the steps for all elements before it starts."""

from collections.abc import Callable
from functools import partial
from typing import Any
from weakref import WeakValueDictionary

from app.evaluation.compiler import Build, Compiler
from app.evaluation.nodes import Closure, Location, Node, TextTest, called, runs_of
from app.evaluation.run import STEPS_MAX, TEXT_FREE, RuleError, Run
from app.evaluation.values import double, is_number, is_truthy, strictly_equal, to_text

# The set of each list without numbers or constants: an empty set takes 216 bytes.
_NONE: frozenset[Any] = frozenset()
_NESTED = {dict, list}
# The sets of a shorter list are not worth an entry in the cache.
_SHARED_MIN = 64
# The number of elements that can be copied in the time of one step.
_COPIED = 16
# CPython searches shorter strings without building a table first.
_SEARCHED_PLAINLY = 2_500
# Called with the elements, the body and the run.
Loop = Callable[[list[Any], Closure, Run], Any]


class ValueSet:
    """The values of a list by type, as `===` compares them: numbers are doubles."""

    __slots__ = ("__weakref__", "_values", "constants", "numbers", "texts")

    def __init__(self, values: list[Any]) -> None:
        # This reference keeps the id of the list unique while these sets are in the cache.
        self._values = values
        if {*map(type, values)} <= {str}:
            self.texts, self.numbers, self.constants = frozenset(values), _NONE, _NONE
            return
        self.texts = frozenset(value for value in values if type(value) is str)
        self.numbers = frozenset(double(v) for v in values if is_number(v)) or _NONE
        self.constants = frozenset(v for v in values if v is None or type(v) is bool) or _NONE

    @property
    def are_texts(self) -> bool:
        return not self.numbers and not self.constants

    def has(self, value: Any) -> bool:
        if type(value) is str:
            return value in self.texts
        if value is None or type(value) is bool:
            return value in self.constants
        return is_number(value) and double(value) in self.numbers


# Flags that use the same segment share the sets of its lists. Otherwise thousands of flags would
# each have their own copy of a list of thousands of values.
_shared: WeakValueDictionary[int, ValueSet] = WeakValueDictionary()


def value_set_of(values: Any) -> ValueSet | None:
    """Return the sets of a literal list; None for a list that contains rules or lists, and for
    any other value.
    """
    if not isinstance(values, list):
        return None
    members = _shared.get(id(values))
    if members is not None:
        return members
    if not _NESTED.isdisjoint(map(type, values)):
        return None
    members = ValueSet(values)
    if len(values) >= _SHARED_MIN:
        _shared[id(values)] = members
    return members


def _map(elements: list[Any], body: Closure, run: Run) -> list[Any]:
    return [body(element, run) for element in elements]


def _filter(elements: list[Any], body: Closure, run: Run) -> list[Any]:
    return [element for element in elements if is_truthy(body(element, run))]


def _all(elements: list[Any], body: Closure, run: Run) -> bool:
    # False for an empty array.
    return bool(elements) and all(is_truthy(body(element, run)) for element in elements)


def _some(elements: list[Any], body: Closure, run: Run) -> bool:
    return any(is_truthy(body(element, run)) for element in elements)


def _none(elements: list[Any], body: Closure, run: Run) -> bool:
    return not _some(elements, body, run)


def _loop(loop: Loop, compiler: Compiler, raw: Any, location: Location) -> Node:
    """Compile an operator that applies a rule to each element of an array."""
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
    """Return the array, the body, the steps per element, and the third argument."""
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
        for closure in runs:
            value = closure(data, run)
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
        needle, container = nodes
        members = value_set_of(container.literal)
        if members is not None:
            return _among(needle, members)
        if container.attribute is not None and _is_short(needle.literal):
            return _within(container.attribute, needle.literal)
    return called(_contains, nodes)


def _is_short(value: Any) -> bool:
    """Return whether a value is a string short enough to be read without spending steps."""
    return isinstance(value, str) and len(value) <= TEXT_FREE


def _among(needle: Node, members: ValueSet) -> Node:
    read, name = needle.run, needle.attribute
    if not members.are_texts or name is None:
        return Node(lambda data, run: members.has(read(data, run)))

    def attribute_among(data: Any, _run: Run) -> bool:
        value = data.get(name)
        return type(value) is str and value in members.texts

    return Node(attribute_among, text_test=TextTest(name, members.texts))


def _within(name: str, text: str) -> Node:
    def within(data: Any, run: Run) -> bool:
        value = data.get(name)
        if type(value) is str and len(value) <= TEXT_FREE:
            # In JsonLogic the empty string does not contain the empty string.
            return text in value and value != ""
        return _contains(run, text, value)

    return Node(within)


def _contains(run: Run, needle: Any = None, container: Any = None, *_: Any) -> bool:
    if isinstance(container, str):
        text = to_text(needle, run)
        _pay_for_search(text, container, run)
        return container != "" and text in container
    if isinstance(container, list):
        run.spend(len(container))
        return any(strictly_equal(item, needle, run) for item in container)
    return False


def _pay_for_search(needle: str, text: str, run: Run) -> None:
    """Spend the steps of the worst case: comparing the whole needle at every position.

    Python's search time is proportional to the product of both lengths if one of them is short, and
    to their sum otherwise.
    """
    if len(text) > TEXT_FREE:
        compared = len(needle) if len(text) < _SEARCHED_PLAINLY else min(len(needle), 100)
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
