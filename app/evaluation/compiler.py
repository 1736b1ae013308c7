"""From a rule to a closure: JsonLogic with json-logic-js's meaning, and flagd's own operators.

Nothing of a rule is ever executed as text. A compiled rule is called with the data that `var` sees
and the run that it is part of; what a rule costs is bounded when it is compiled (nodes, depth) and
when it runs (steps, sizes), so that neither a rule nor a context can hold its caller for long.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from app.evaluation.values import RuleError

DEPTH_MAX = 64
NODES_MAX = 2_000
# A step takes some 0.2 us, so that no run takes more than a few milliseconds.
STEPS_MAX = 20_000

MISSING: Any = object()


class Run:
    """One evaluation: the context that it is of, when, and how many steps are left."""

    __slots__ = ("context", "now", "steps")

    def __init__(self, context: Mapping[str, Any], now: int) -> None:
        self.context = context
        self.now = now
        self.steps = STEPS_MAX

    def spend(self, steps: int) -> None:
        """Take steps away. Raises RuleError when there are none left."""
        self.steps -= steps
        if self.steps < 0:
            raise RuleError("the rule takes too many steps with this context")


Closure = Callable[[Any, Run], Any]
# Called with a place in the rule, an operator, and what its closure is; returns what runs instead.
Observe = Callable[[str, str, Closure], Closure]


@dataclass(frozen=True, slots=True)
class Node:
    """A compiled part of a rule. `literal` is its value when that is always the same, `attribute`
    the name when it is one attribute of the context; both let others take a shorter way.
    """

    run: Closure
    literal: Any = MISSING
    attribute: str | None = None

    @property
    def is_literal(self) -> bool:
        return self.literal is not MISSING


def literal(value: Any) -> Node:
    return Node(lambda _data, _run: value, literal=value)


@dataclass(frozen=True, slots=True)
class Place:
    """Where in a rule; `is_scoped` when `var` sees an element there and not the context."""

    path: str
    is_scoped: bool = False

    def at(self, position: int, *, is_scoped: bool = False) -> "Place":
        return Place(f"{self.path}[{position}]", self.is_scoped or is_scoped)

    def under(self, name: str) -> "Place":
        return Place(f"{self.path}.{name}", self.is_scoped)


@dataclass(kw_only=True)
class Compiler:
    """Compiles the rules of one flag. `segments` are what `$ref` may name; `fractional` is the
    generation of bucketing. Afterwards `references` are the segments that were used, directly or
    through others, and `uses_time` tells whether the outcome may change by itself.
    """

    flag_key: str
    segments: Mapping[str, Any]
    fractional: str
    operators: Mapping[str, "Build"]
    observe: Observe | None = None
    references: set[str] = field(default_factory=set)
    uses_time: bool = False
    nodes: int = 0
    _open: list[str] = field(default_factory=list)
    _depth: int = 0

    def compile(self, rule: Any, place: Place) -> Node:
        """Return a rule as a closure. Raises RuleError for what cannot be run."""
        self.nodes += 1
        if self.nodes > NODES_MAX:
            raise RuleError(f"the rule has more than {NODES_MAX} nodes")
        if self._depth > DEPTH_MAX:
            raise RuleError(f"the rule nests deeper than {DEPTH_MAX}")
        self._depth += 1
        try:
            if isinstance(rule, list):
                return self._list(rule, place)
            if isinstance(rule, dict) and len(rule) == 1:
                return self._operation(rule, place)
            return literal(rule)
        finally:
            self._depth -= 1

    def arguments(self, raw: Any, place: Place) -> list[Node]:
        """Return the compiled arguments of an operator; one that is no list is the only one."""
        if not isinstance(raw, list):
            return [self.compile(raw, place)]
        return [self.compile(each, place.at(position)) for position, each in enumerate(raw)]

    def _list(self, rule: list[Any], place: Place) -> Node:
        nodes = self.arguments(rule, place)
        if all(node.is_literal for node in nodes):
            return literal(rule)
        runs = [node.run for node in nodes]
        return Node(lambda data, run: [each(data, run) for each in runs])

    def _operation(self, rule: dict[str, Any], place: Place) -> Node:
        ((name, raw),) = rule.items()
        place = place.under(name)
        if name == "$ref":
            return self._reference(raw, place)
        build = self.operators.get(name)
        if build is None:
            raise RuleError(f"{place.path}: there is no such operator")
        node = build(self, raw, place)
        if self.observe is None:
            return node
        return Node(self.observe(place.path, name, node.run))

    def _reference(self, name: Any, place: Place) -> Node:
        """Compile a segment in its place: it sees what the rule sees that refers to it."""
        if not isinstance(name, str):
            raise RuleError(f"{place.path}: must be the name of a segment")
        # Those that are missing too: once they come, the rule can be compiled.
        self.references.add(name)
        if name not in self.segments:
            raise RuleError(f"{place.path}: there is no such segment")
        if name in self._open:
            raise RuleError(f"{place.path}: the segments refer to each other in a circle")
        self._open.append(name)
        try:
            return self.compile(self.segments[name], place.under(name))
        finally:
            self._open.pop()


# What makes a node of an operator: the compiler, the raw arguments, and their place.
Build = Callable[[Compiler, Any, Place], Node]


def runs_of(nodes: Sequence[Node]) -> list[Closure]:
    return [node.run for node in nodes]
