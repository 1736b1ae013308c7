"""Compile rules to closures: JsonLogic as json-logic-js defines it, and flagd's own operators.

A rule is never executed as Python source. Compilation limits its nodes, lists and depth, segments
included; the run limits its steps.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from app.evaluation.lists import names_list
from app.evaluation.nodes import (
    Closure,
    Location,
    Node,
    TextTest,
    called,
    filled,
    literal,
    value_at,
)
from app.evaluation.parts import Analysis, Part, Parts
from app.evaluation.run import FlagCircleError, RuleError
from app.evaluation.transitions import instants

if TYPE_CHECKING:
    from app.evaluation.engine import Flag, FlagOf

DEPTH_MAX = 64
# A flag may need a flag that needs another one, and so on, this many times.
FLAG_LEVELS_MAX = 16
# Operators `flag` in deeper rules of a chain would exceed the depth of Python's calls.
FLAG_DEPTH_MAX = 16
NODES_MAX = 2_000
# Values in one list, and in all lists of a flag. The plain values of a list are one node together.
LIST_VALUES_MAX = 10_000
VALUES_MAX = 100_000
# A longer list is not copied into each flag, because thousands of flags may use a segment.
_COPIED_LIST_MAX = 64
# `compile` refuses a part at a greater depth than DEPTH_MAX, and adds 1 before its own parts.
_DEEPEST = DEPTH_MAX + 1
_DIGEST_BYTES = 16
# Evaluating flags in groups pays off only for short lists of strings.
_TESTED_STRINGS_MAX = 100


class Observer(Protocol):
    """Sees the operators of a rule while it runs."""

    def observe(self, path: str, operator: str, raw: Any, closure: Closure) -> Closure:
        """Return the closure to run instead of that of an operator at a path in the rule."""

    def sees(self, segment: str) -> bool:
        """Return whether the observer sees the operators of a segment, or only its result."""


@dataclass(kw_only=True)
class Compiler:
    """Compiles the rules of one flag.

    `segments` are what `$ref` may name, and `flag_of` returns what `flag` may name. `resolve` turns
    the result of the rule into the flag's answer; for literals it runs at compile time. `parts` has
    the parts that other flags share; none are shared without it. After compilation, `analysis` has
    the facts about the rule.
    """

    flag_key: str
    segments: Mapping[str, Any]
    fractional: str
    operators: Mapping[str, "Build"]
    resolve: Callable[[Any], Any]
    flag_of: "FlagOf"
    observer: Observer | None = None
    parts: Parts | None = None
    analysis: Analysis = field(default_factory=Analysis)
    nodes: int = 0
    values: int = 0
    # The segments being compiled, from the outermost to the innermost.
    _within: list[str] = field(default_factory=list)
    _depth: int = 0
    _deepest: int = 0

    def compile(self, rule: Any, location: Location) -> Node:
        """Compile a rule. Raises RuleError for a rule that cannot be evaluated."""
        self.count(1)
        if self._depth > DEPTH_MAX:
            raise RuleError(f"the rule nests deeper than {DEPTH_MAX}")
        self._depth += 1
        self._deepest = max(self._deepest, self._depth)
        try:
            node = self._node(rule, location)
        finally:
            self._depth -= 1
        return self.resolved(node) if location.is_result and not node.is_resolved else node

    def _node(self, rule: Any, location: Location) -> Node:
        if isinstance(rule, list):
            return self._list(rule, location)
        if isinstance(rule, dict) and len(rule) == 1:
            return self._operation(rule, location)
        return literal(rule)

    def resolved(self, node: Node) -> Node:
        """Return a node that gives the flag's answer instead of the name of a variant."""
        if node.is_literal:
            return literal(self.resolve(node.literal), is_resolved=True)
        run, resolve = node.run, self.resolve
        return Node(lambda data, run_: resolve(run(data, run_)), is_resolved=True)

    def own_key(self) -> str:
        """Return the key of the flag. A part that contains it is not shared."""
        self.analysis.depends_on_flag = True
        return self.flag_key

    def compile_shared(self, rule: Any, location: Location) -> Node:
        """Compile a rule, or return the part of another flag that has the same JSON."""
        # Inside a segment, the segment is the shared part.
        if self.parts is None or self._within or not isinstance(rule, dict):
            return self.compile(rule, location)
        key = blake2b(msgspec.json.encode(rule), digest_size=_DIGEST_BYTES).digest()
        return self.compile_part(key, partial(self.compile, rule, location))

    def compile_part(self, key: Hashable, compile_part: Callable[[], Node]) -> Node:
        """Return the part of this key, which is compiled when there is no current one."""
        if self.parts is None:
            return compile_part()
        part = self.parts.get(key)
        if part is None or not part.is_current(self.segments, self.flag_of):
            return self._compiled(key, compile_part, self.parts)
        if not self._has_room_for(part):
            # Compile it again for the error, which says where the limit is exceeded.
            return compile_part()
        self.nodes += part.nodes
        self.values += part.values
        self._deepest = max(self._deepest, self._depth + part.depth)
        self.analysis.add(part.analysis)
        self.analysis.parts += (part,)
        return part.node._replace(part=part)

    def _compiled(self, key: Hashable, compile_part: Callable[[], Node], parts: Parts) -> Node:
        nodes, values, deepest, outer = self.nodes, self.values, self._deepest, self.analysis
        self.analysis, self._deepest = Analysis(), self._depth
        try:
            node = compile_part()
        finally:
            inner, depth = self.analysis, self._deepest - self._depth
            self.analysis, self._deepest = outer, max(deepest, self._deepest)
            outer.add(inner)
        if inner.depends_on_flag:
            outer.parts += inner.parts
            return node
        size = {"nodes": self.nodes - nodes, "values": self.values - values, "depth": depth}
        part = parts[key] = Part(node._replace(part=None), inner, self.segments, **size)
        outer.parts += (part,)
        return node._replace(part=part)

    def _has_room_for(self, part: Part) -> bool:
        return (
            self.nodes + part.nodes <= NODES_MAX
            and self.values + part.values <= VALUES_MAX
            and self._depth + part.depth <= _DEEPEST
            # The part may have the operator `flag`, which is refused at a greater depth.
            and not (part.analysis.flags and self._depth + part.depth > FLAG_DEPTH_MAX)
        )

    def add_transitions(
        self, nodes: Sequence[Node], numbers: Sequence[float], compared: Node
    ) -> None:
        """Record the seconds at which the comparison of one clock with literals changes."""
        clocks = [node.clock for node in nodes if node.clock is not None]
        if len(clocks) != 1 or not all(node.clock or node.is_literal for node in nodes):
            return
        self.analysis.clocks_compared += 1
        self.analysis.transitions |= set(instants(clocks[0], numbers, value_at(compared)))

    @property
    def text_test(self) -> TextTest | None:
        """The test on strings that alone decides the rules, None if they read more than that."""
        attributes = {test.attribute for test in self.analysis.text_tests}
        texts = [test.texts for test in self.analysis.text_tests]
        if len(attributes) != 1 or len(texts) != self.analysis.lookups:
            return None
        if sum(map(len, texts)) > _TESTED_STRINGS_MAX:
            return None
        return TextTest(attributes.pop(), frozenset().union(*texts))

    def count(self, nodes: int) -> None:
        """Add nodes. A loop spends the number of nodes of its body as steps for each element."""
        self.nodes += nodes
        if self.nodes > NODES_MAX:
            raise RuleError(f"the rule has more than {NODES_MAX} nodes")

    def arguments(self, raw: Any, location: Location) -> list[Node]:
        """Compile the arguments of an operator; a value that is no list is its only argument."""
        if not isinstance(raw, list):
            return [self.compile(raw, location._replace(is_result=False))]
        return [self.compile(value, location.at(position)) for position, value in enumerate(raw)]

    def _list(self, rule: list[Any], location: Location) -> Node:
        self._count_values(len(rule), location)
        nodes = [
            (position, self.compile(value, location.at(position)))
            for position, value in enumerate(rule)
            if type(value) in (dict, list)
        ]
        if len(nodes) < len(rule):
            self.count(1)
        if not nodes:
            return literal(rule)
        if len(rule) <= _COPIED_LIST_MAX and all(node.is_literal for _, node in nodes):
            # A copy, because references and the flag's key are replaced by their values.
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
            if location.is_result or not isinstance(raw, str):
                return self._reference(raw, location)
            key = (raw, location.is_scoped)
            return self.compile_part(key, partial(self._reference, raw, location))
        build = self.operators.get(name)
        if build is None:
            raise RuleError(f"{location.path}: is not a known operator")
        node = build(self, raw, location)
        if node.text_test is not None:
            self.analysis.text_tests += (node.text_test,)
        return node if self.observer is None else self.observed(name, raw, location, node)

    def observed(self, operator: str, raw: Any, location: Location, node: Node) -> Node:
        """Return a node that reports its result to the observer, if there is one."""
        if self.observer is None:
            return node
        return Node(self.observer.observe(location.path, operator, raw, node.run))

    def needed_flag(self, key: str, location: Location) -> "Flag":
        """Return another flag that the rule needs, and record what depends on it."""
        if self._within:
            raise RuleError(f"{location.path}: a segment cannot need a flag")
        if self._depth > FLAG_DEPTH_MAX:
            raise RuleError(f"{location.path}: must not stand deeper than {FLAG_DEPTH_MAX}")
        # Missing flags too: once they exist, the rule can be compiled.
        self.analysis.references |= {key}
        self.analysis.needs_flags = True
        flag = self.flag_of(key)
        if flag is None:
            raise RuleError(f"{location.path}: there is no such flag")
        self.analysis.references |= flag.references
        if flag.is_circular:
            raise FlagCircleError(f"{location.path}: the flags need each other in a circle")
        if flag.levels >= FLAG_LEVELS_MAX:
            rule = f"more than {FLAG_LEVELS_MAX} flags need each other in a chain"
            raise RuleError(f"{location.path}: {rule}")
        self.analysis.flags += (flag,)
        self.analysis.flag_levels = max(self.analysis.flag_levels, flag.levels + 1)
        if flag.uses_time:
            self.analysis.clocks += 1
            self.analysis.clocks_compared += flag.transitions_are_known
            self.analysis.transitions |= set(flag.transitions)
        return flag

    def _reference(self, name: Any, location: Location) -> Node:
        """Compile a segment in the place of its reference, with the same data."""
        if not isinstance(name, str):
            raise RuleError(f"{location.path}: must be the name of a segment")
        # Missing segments too: once they exist, the rule can be compiled.
        self.analysis.references |= {name}
        if name not in self.segments:
            raise RuleError(f"{location.path}: there is no such segment")
        if names_list(self.segments[name]):
            raise RuleError(f"{location.path}: must name a rule, and this segment is a list")
        if name in self._within:
            raise RuleError(f"{location.path}: the segments refer to each other in a circle")
        observer = self.observer
        is_hidden = observer is not None and not observer.sees(name)
        self._within.append(name)
        try:
            self.observer = None if is_hidden else observer
            node = self.compile(self.segments[name], location.under(name))
        except RuleError as error:
            error.within = (name, *error.within)
            raise
        finally:
            self._within.pop()
            self.observer = observer
        return self.observed("$ref", name, location, node) if is_hidden else node


# Compiles an operator; called with the compiler, the raw arguments and their location.
Build = Callable[[Compiler, Any, Location], Node]


def eager(function: Callable[..., Any]) -> Build:
    """Return an operator that calls a function with the run and the values of its arguments."""
    return lambda compiler, raw, location: called(function, compiler.arguments(raw, location))
