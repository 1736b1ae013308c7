"""From a rule to a closure: JsonLogic with json-logic-js's meaning, and flagd's own operators.

Nothing of a rule is ever executed as text. What it costs is bounded when it is compiled, by its
nodes, lists and depth with all segments in their places, and when it runs, by the steps of the run.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from app.evaluation.nodes import Among, Closure, Location, Node, called, filled, literal, value_at
from app.evaluation.run import RuleError
from app.evaluation.turns import instants

DEPTH_MAX = 64
NODES_MAX = 2_000
# Values in one list, and in all lists of a flag. The plain values of a list are one node together.
LIST_VALUES_MAX = 10_000
VALUES_MAX = 100_000
# A longer list is not copied into each flag that uses it: a segment may be in thousands of flags.
_COPIED_LIST_MAX = 64
# Evaluating flags in groups pays off only for short lists of texts.
_ASKED_TEXTS_MAX = 100

# Called with a path in the rule, an operator, its raw arguments, and what its closure is; returns
# what runs instead.
Observe = Callable[[str, str, Any, Closure], Closure]


@dataclass(kw_only=True)
class Compiler:
    """Compiles the rules of one flag. `segments` are what `$ref` may name; `fractional` is the
    generation of bucketing; `finish` makes the flag's answer of what the rule gives, beforehand
    where that is known. Afterwards `references` are the segments that were used, directly or
    through others, and `uses_time` tells whether the outcome may change by itself: at the instants
    `turns`, and also at others unless `turns_are_known`. `looks` counts the places that look into
    the context, and `asked` is what those ask that only ask.
    """

    flag_key: str
    segments: Mapping[str, Any]
    fractional: str
    operators: Mapping[str, "Build"]
    finish: Callable[[Any], Any]
    observe: Observe | None = None
    references: set[str] = field(default_factory=set)
    clocks: int = 0
    clocks_compared: int = 0
    turns: set[int] = field(default_factory=set)
    looks: int = 0
    asked: list[Among] = field(default_factory=list)
    nodes: int = 0
    values: int = 0
    # The segments that what is being compiled is within.
    _within: list[str] = field(default_factory=list)
    _depth: int = 0

    def compile(self, rule: Any, location: Location) -> Node:
        """Return a rule as a closure. Raises RuleError for what cannot be run."""
        self.count(1)
        if self._depth > DEPTH_MAX:
            raise RuleError(f"the rule nests deeper than {DEPTH_MAX}")
        self._depth += 1
        try:
            node = self._node(rule, location)
        finally:
            self._depth -= 1
        return self.finished(node) if location.is_last and not node.is_final else node

    def _node(self, rule: Any, location: Location) -> Node:
        if isinstance(rule, list):
            return self._list(rule, location)
        if isinstance(rule, dict) and len(rule) == 1:
            return self._operation(rule, location)
        return literal(rule)

    def finished(self, node: Node) -> Node:
        """Return what gives the flag's answer where the node gives a variant's name."""
        if node.is_literal:
            return literal(self.finish(node.literal))._replace(is_final=True)
        run, finish = node.run, self.finish
        return Node(lambda data, run_: finish(run(data, run_)), is_final=True)

    @property
    def uses_time(self) -> bool:
        return self.clocks > 0

    @property
    def turns_are_known(self) -> bool:
        return self.clocks == self.clocks_compared

    def note_turns(self, nodes: Sequence[Node], numbers: Sequence[float], compared: Node) -> None:
        """Note when the comparison of one clock with fixed numbers has another outcome."""
        clocks = [node.clock for node in nodes if node.clock is not None]
        if len(clocks) != 1 or not all(node.clock or node.is_literal for node in nodes):
            return
        self.clocks_compared += 1
        self.turns.update(instants(clocks[0], numbers, value_at(compared)))

    @property
    def asks(self) -> Among | None:
        """All that the rules ask of the context, if that is whether one attribute is some text."""
        attributes = {each.attribute for each in self.asked}
        if len(attributes) != 1 or len(self.asked) != self.looks:
            return None
        if sum(len(each.texts) for each in self.asked) > _ASKED_TEXTS_MAX:
            return None
        return Among(attributes.pop(), frozenset().union(*(each.texts for each in self.asked)))

    def count(self, nodes: int) -> None:
        """Add nodes: what a loop's body has of them is what it costs for each element."""
        self.nodes += nodes
        if self.nodes > NODES_MAX:
            raise RuleError(f"the rule has more than {NODES_MAX} nodes")

    def arguments(self, raw: Any, location: Location) -> list[Node]:
        """Return the compiled arguments of an operator; one that is no list is the only one."""
        if not isinstance(raw, list):
            return [self.compile(raw, location._replace(is_last=False))]
        return [self.compile(each, location.at(position)) for position, each in enumerate(raw)]

    def _list(self, rule: list[Any], location: Location) -> Node:
        self._count_values(len(rule), location)
        nodes = [
            (position, self.compile(each, location.at(position)))
            for position, each in enumerate(rule)
            if isinstance(each, dict | list)
        ]
        if len(nodes) < len(rule):
            self.count(1)
        if not nodes:
            return literal(rule)
        if len(rule) <= _COPIED_LIST_MAX and all(node.is_literal for _, node in nodes):
            # Not the rule: a reference or the flag's key may stand for what is always the same.
            values = rule.copy()
            for position, node in nodes:
                values[position] = node.literal
            return literal(values)
        return Node(filled(rule, [(position, node.run) for position, node in nodes]))

    def _count_values(self, values: int, location: Location) -> None:
        if values > LIST_VALUES_MAX:
            raise RuleError(f"{location.path}: the list has more than {LIST_VALUES_MAX} values")
        self.values += values
        if self.values > VALUES_MAX:
            raise RuleError(f"the lists of the rule have more than {VALUES_MAX} values together")

    def _operation(self, rule: dict[str, Any], location: Location) -> Node:
        ((name, raw),) = rule.items()
        location = location.under(name)
        if name == "$ref":
            return self._reference(raw, location)
        build = self.operators.get(name)
        if build is None:
            raise RuleError(f"{location.path}: there is no such operator")
        node = build(self, raw, location)
        if node.among is not None:
            self.asked.append(node.among)
        if self.observe is None:
            return node
        return Node(self.observe(location.path, name, raw, node.run))

    def _reference(self, name: Any, location: Location) -> Node:
        """Compile a segment in its location: it sees what the rule sees that refers to it."""
        if not isinstance(name, str):
            raise RuleError(f"{location.path}: must be the name of a segment")
        # Those that are missing too: once they come, the rule can be compiled.
        self.references.add(name)
        if name not in self.segments:
            raise RuleError(f"{location.path}: there is no such segment")
        if name in self._within:
            raise RuleError(f"{location.path}: the segments refer to each other in a circle")
        self._within.append(name)
        try:
            return self.compile(self.segments[name], location.under(name))
        finally:
            self._within.pop()


# What makes a node of an operator: the compiler, the raw arguments, and their location.
Build = Callable[[Compiler, Any, Location], Node]


def eager(function: Callable[..., Any]) -> Build:
    """Return the operator that is a function of the run and its arguments' values."""
    return lambda compiler, raw, location: called(function, compiler.arguments(raw, location))
