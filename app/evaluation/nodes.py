"""The compiled parts of a rule: closures, and what is known of them beforehand."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from app.evaluation.run import Run
from app.evaluation.turns import Clock

# A location names this much of an operator or segment, so that an error stays readable.
_NAME_SHOWN = 100
# Values of a list that are copied in the time of a step.
_COPIED = 16

MISSING: Any = object()

# Called with the data that `var` sees, which is the context or an element of it, and the run.
Closure = Callable[[Any, Run], Any]


class Among(NamedTuple):
    """The question whether an attribute of the context is one of some texts."""

    attribute: str
    texts: frozenset[str]


class Node(NamedTuple):
    """A compiled part of a rule. `literal` is its value when that is always the same, `attribute`
    the name when it is one attribute of the context, and `among` what it asks when that is all, as
    long as the attribute is a text. They let others take a shorter way. `clock` is there when the
    value depends on the time alone.

    `is_final` tells that it gives the flag's answer itself, and not the variant's name.
    """

    run: Closure
    literal: Any = MISSING
    attribute: str | None = None
    among: Among | None = None
    clock: Clock | None = None
    is_final: bool = False

    @property
    def is_literal(self) -> bool:
        return self.literal is not MISSING


def literal(value: Any) -> Node:
    return Node(lambda _data, _run: value, literal=value)


class Location(NamedTuple):
    """Where in a rule; `is_scoped` when `var` sees an element there and not the context, `is_last`
    when what comes out there is what the whole rule gives.
    """

    path: str
    is_scoped: bool = False
    is_last: bool = False

    def at(self, position: int, *, is_scoped: bool = False, is_last: bool = False) -> "Location":
        return Location(f"{self.path}[{position}]", self.is_scoped or is_scoped, is_last)

    def under(self, name: str) -> "Location":
        return Location(f"{self.path}.{name[:_NAME_SHOWN]}", self.is_scoped, self.is_last)


def runs_of(nodes: Sequence[Node]) -> list[Closure]:
    return [node.run for node in nodes]


def nothing(_data: Any, _run: Run) -> None:
    """Return null, as an argument does that is not there."""


def called(function: Callable[..., Any], nodes: Sequence[Node]) -> Node:
    """Return the call of a function with the run and the values of its arguments."""
    runs = runs_of(nodes)
    if len(runs) == 1:
        only = runs[0]
        return Node(lambda data, run: function(run, only(data, run)))
    if len(runs) == 2:
        first, second = runs
        return Node(lambda data, run: function(run, first(data, run), second(data, run)))
    return Node(lambda data, run: function(run, *[each(data, run) for each in runs]))


def value_at(node: Node) -> Callable[[int], Any]:
    """Return the value of a node, which depends on the time alone, as a function of the time."""
    return lambda now: node.run({}, Run({}, now))


def filled(values: list[Any], runs: Sequence[tuple[int, Closure]]) -> Closure:
    """Return the copy of a list with some of its values computed."""

    def filled(data: Any, run: Run) -> list[Any]:
        run.spend(len(values) // _COPIED)
        copy = values.copy()
        for position, each in runs:
            copy[position] = each(data, run)
        return copy

    return filled
