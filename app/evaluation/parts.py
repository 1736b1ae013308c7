"""Parts of rules that many flags share: segments and conditions. A ruleset compiles each once.

A part is found by its name or its JSON. It may be used as long as it does not depend on the flag,
and while the segments that it refers to have not changed.
"""

from collections.abc import Hashable, Mapping, MutableMapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from app.evaluation.nodes import Node, TextTest

if TYPE_CHECKING:
    from app.evaluation.engine import Flag, FlagOf


@dataclass(slots=True)
class Analysis:
    """The facts about a rule that its compilation finds.

    `references` are the segments and flags used directly or through others, missing ones too, and
    `flags` are the flags used directly. `flag_levels` is the length of the longest chain of flags
    that need each other, and `needs_flags` is set if a flag is used, existing or not. `clocks`
    counts the reads of the time, and `clocks_compared` those whose `transitions` are known.
    `lookups` counts the reads of the context, and `text_tests` are the reads that only compare with
    strings. `parts` are the shared parts. `depends_on_flag` is set by a rule that reads the key of
    its flag.
    """

    references: frozenset[str] = frozenset()
    flags: "tuple[Flag, ...]" = ()
    flag_levels: int = 0
    needs_flags: bool = False
    clocks: int = 0
    clocks_compared: int = 0
    transitions: frozenset[int] = frozenset()
    lookups: int = 0
    text_tests: tuple[TextTest, ...] = ()
    parts: "tuple[Part, ...]" = ()
    depends_on_flag: bool = False

    def add(self, other: "Analysis") -> None:
        """Add the facts about a part, except its own parts: they stay in memory with it."""
        # Without the test, each flag would have empty sets of its own.
        if other.references:
            self.references |= other.references
        if other.needs_flags:
            self.flags += other.flags
            self.flag_levels = max(self.flag_levels, other.flag_levels)
            self.needs_flags = True
        self.clocks += other.clocks
        self.clocks_compared += other.clocks_compared
        if other.transitions:
            self.transitions |= other.transitions
        self.lookups += other.lookups
        self.text_tests += other.text_tests
        self.depends_on_flag |= other.depends_on_flag


class Part:
    """A compiled part with its analysis and its size: nodes, values of lists, and depth."""

    __slots__ = ("__weakref__", "_sources", "analysis", "depth", "node", "nodes", "values")

    def __init__(
        self,
        node: Node,
        analysis: Analysis,
        segments: Mapping[str, Any],
        *,
        nodes: int,
        values: int,
        depth: int,
    ) -> None:
        self.node = node
        self.analysis = analysis
        self.nodes = nodes
        self.values = values
        self.depth = depth
        self._sources = tuple(
            (name, segments[name]) for name in analysis.references if name in segments
        )

    def is_current(self, segments: Mapping[str, Any], flag_of: "FlagOf") -> bool:
        """Return whether these segments and flags are those that the part was compiled with."""
        flags = self.analysis.flags
        if self._sources and not all(segments.get(name) is rule for name, rule in self._sources):
            return False
        return not flags or all(flag_of(flag.key) is flag for flag in flags)


# By the name of a segment, or the hash of a condition.
Parts = MutableMapping[Hashable, Part]


def parts_in_use() -> Parts:
    """Return a mapping that has a part as long as a flag uses it."""
    return WeakValueDictionary()


def all_parts() -> Parts:
    """Return a mapping that has all parts as long as it exists itself."""
    return {}
