"""Cache the outcomes of flags whose rules only test one attribute against some strings.

Such rules have one result per string, one for all other strings, and one for a missing attribute.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from app.evaluation.engine import Flag
from app.evaluation.run import Run

# The limits of the cache of a group; beyond them it is cleared. Without them, large variants for
# each of many strings would fill the memory.
BLOCKS_MAX = 64
BLOCKS_BYTES_MAX = 1024 * 1024
_ANY_OTHER = object()


class BodyBlock:
    """The bodies of several outcomes, and all of them joined by commas."""

    __slots__ = ("bodies", "joined")

    def __init__(self, bodies: Sequence[bytes]) -> None:
        self.bodies = bodies
        self.joined = b",".join(bodies)


class Group:
    """Flags whose rules only test whether one attribute is one of some strings."""

    def __init__(self, attribute: str, flags: Sequence[Flag]) -> None:
        self.flags = flags
        self._attribute = attribute
        self._texts = frozenset[str]().union(
            *(flag.text_test.texts for flag in flags if flag.text_test)
        )
        self._blocks: dict[Any, BodyBlock] = {}
        self._bytes = 0

    def block(self, context: Mapping[str, Any]) -> BodyBlock | None:
        """Return the outcomes for a context; None if the attribute is set and not a string."""
        value = context.get(self._attribute)
        if value is not None and type(value) is not str:
            return None
        cache_key = value if value is None or value in self._texts else _ANY_OTHER
        block = self._blocks.get(cache_key)
        if block is None:
            only = {self._attribute: value}
            block = BodyBlock([flag.body(only, Run(only, 0)) for flag in self.flags])
            self._store(cache_key, block)
        return block

    def _store(self, cache_key: Any, block: BodyBlock) -> None:
        size = len(block.joined)
        if size > BLOCKS_BYTES_MAX:
            return
        if len(self._blocks) >= BLOCKS_MAX or self._bytes + size > BLOCKS_BYTES_MAX:
            self._blocks.clear()
            self._bytes = 0
        self._blocks[cache_key] = block
        self._bytes += size
