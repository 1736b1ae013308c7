"""Outcomes that many contexts have in common, worked out once.

Such are those of rules that ask no more than whether one attribute is one of some texts: to that
there are as many different answers as there are such texts, one for all others, and one for none.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from app.evaluation.engine import Flag
from app.evaluation.run import Run

# What the parts of a group may take: where the rules name more texts, or their outcomes are large,
# parts are made anew now and then. Kept without a limit, a few large variants for each of many
# texts would fill the memory.
PARTS_KEPT = 64
PARTS_BYTES_MAX = 1024 * 1024
_ANY_OTHER = object()


class Part:
    """Outcomes that come together: their bodies, and all of them with commas between."""

    __slots__ = ("bodies", "joined")

    def __init__(self, bodies: Sequence[bytes]) -> None:
        self.bodies = bodies
        self.joined = b",".join(bodies)


class Group:
    """Flags whose rules look at one attribute, and ask only whether it is one of some texts."""

    def __init__(self, attribute: str, flags: Sequence[Flag]) -> None:
        self.flags = flags
        self._attribute = attribute
        self._texts = frozenset[str]().union(*(flag.asks.texts for flag in flags if flag.asks))
        self._parts: dict[Any, Part] = {}
        self._bytes = 0

    def part(self, context: Mapping[str, Any]) -> Part | None:
        """Return the outcomes for a context; None if the attribute is neither a text nor absent."""
        value = context.get(self._attribute)
        if value is not None and type(value) is not str:
            return None
        named = value if value is None or value in self._texts else _ANY_OTHER
        part = self._parts.get(named)
        if part is None:
            part = self._made({self._attribute: value})
            self._keep(named, part)
        return part

    def _keep(self, named: Any, part: Part) -> None:
        size = len(part.joined)
        if size > PARTS_BYTES_MAX:
            return
        if len(self._parts) >= PARTS_KEPT or self._bytes + size > PARTS_BYTES_MAX:
            self._parts.clear()
            self._bytes = 0
        self._parts[named] = part
        self._bytes += size

    def _made(self, context: Mapping[str, Any]) -> Part:
        return Part([flag.body(context, Run(context, 0)) for flag in self.flags])
