"""The compiled parts of a rule: closures, and the known properties of their values."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from app.evaluation.run import Run
from app.evaluation.transitions import Clock

if TYPE_CHECKING:
    from app.evaluation.choices import Choice
    from app.evaluation.parts import Part

# The most that a path shows of an operator or segment, so that errors stay readable.
_NAME_SHOWN = 100
# Values of a list that are copied in the time of one step.
_COPIED = 16

MISSING: Any = object()

# Called with the data that `var` reads, and the run.
Closure = Callable[[Any, Run], Any]


class TextTest(NamedTuple):
    """The test whether an attribute of the context is one of some strings; false without it."""

    attribute: str
    texts: frozenset[str]


class Prefixed(NamedTuple):
    """A literal string followed by an attribute of the context, as one string."""

    prefix: str
    attribute: str


class Node(NamedTuple):
    """A compiled part of a rule.

    The other members allow faster code. `literal` is the value if it is constant. `attribute` is
    set if the value is one attribute of the context, and `prefixed` if it is a string and one of
    them. `text_test` is the test if the value depends on nothing else, as long as the attribute is
    a string. `clock` is set if the value depends only on the time. `is_resolved` says that the
    value is the flag's answer, not the name of a variant; `choice` is set if it is one of several
    known answers. `part` is set if other flags share it. `before` is set if the value is whether
    the time is before an instant. `choice_at` is set if the value is the flag's answer, and returns
    the choice at an instant.
    """

    run: Closure
    literal: Any = MISSING
    attribute: str | None = None
    prefixed: Prefixed | None = None
    text_test: TextTest | None = None
    clock: Clock | None = None
    is_resolved: bool = False
    choice: "Choice | None" = None
    part: "Part | None" = None
    before: int | None = None
    choice_at: "Callable[[int], Choice | None] | None" = None

    @property
    def is_literal(self) -> bool:
        return self.literal is not MISSING


def literal(value: Any, *, is_resolved: bool = False) -> Node:
    return Node(lambda _data, _run: value, literal=value, is_resolved=is_resolved)


class Location(NamedTuple):
    """A position in a rule. `is_scoped` says that `var` reads an element of a loop there, and
    `is_result` that the value there is the result of the whole rule.
    """

    path: str
    is_scoped: bool = False
    is_result: bool = False

    def at(self, position: int, *, is_scoped: bool = False, is_result: bool = False) -> "Location":
        return Location(f"{self.path}[{position}]", self.is_scoped or is_scoped, is_result)

    def under(self, name: str) -> "Location":
        return Location(f"{self.path}.{name[:_NAME_SHOWN]}", self.is_scoped, self.is_result)


def runs_of(nodes: Sequence[Node]) -> list[Closure]:
    return [node.run for node in nodes]


def nothing(_data: Any, _run: Run) -> None:
    """Return null, the value of a missing argument."""


def called(function: Callable[..., Any], nodes: Sequence[Node]) -> Node:
    """Compile the call of a function with the run and the values of its arguments."""
    runs = runs_of(nodes)
    if len(runs) == 1:
        only = runs[0]
        return Node(lambda data, run: function(run, only(data, run)))
    if len(runs) == 2:
        first, second = runs
        return Node(lambda data, run: function(run, first(data, run), second(data, run)))
    return Node(lambda data, run: function(run, *[closure(data, run) for closure in runs]))


def value_at(node: Node) -> Callable[[int], Any]:
    """Return the value of a node that depends only on the time, as a function of the time."""
    return lambda now: node.run({}, Run({}, now))


def filled(values: list[Any], runs: Sequence[tuple[int, Closure]]) -> Closure:
    """Return a closure that copies a list and computes some of its values."""

    def filled(data: Any, run: Run) -> list[Any]:
        run.spend(len(values) // _COPIED)
        copy = values.copy()
        for position, closure in runs:
            copy[position] = closure(data, run)
        return copy

    return filled
