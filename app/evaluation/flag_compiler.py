"""Compile flags, and the flags that they need, each once and in the right order."""

from collections.abc import Callable, Container, Mapping
from typing import Any

from app.evaluation.engine import Flag, FlagSet
from app.evaluation.needs import needs_of
from app.evaluation.plans.compiling import without_plan

_NO_FLAGS: Mapping[str, Flag] = {}


class FlagCompiler:
    """Compiles the flags of one set when they are first asked for.

    `definition_of` returns the definition of a flag, None if there is no such flag. `flags` are
    compiled already, except the `stale` ones.
    """

    def __init__(
        self,
        flag_set: FlagSet,
        definition_of: Callable[[str], Any],
        *,
        flags: Mapping[str, Flag] = _NO_FLAGS,
        stale: Container[str] = (),
    ) -> None:
        self._flag_set = flag_set
        self._definition_of = definition_of
        self._flags = flags
        self._stale = stale
        self._compiled: dict[str, Flag] = {}
        self._open: set[str] = set()

    @property
    def flag_set(self) -> FlagSet:
        """The set of flags, whose flags may need each other."""
        # Not stored: the flags of a circle of objects would wait for the garbage collector.
        segments, fractional, metadata, parts, _ = self._flag_set
        return FlagSet(segments, fractional, metadata, parts, self.flag_of)

    def flag_of(self, key: str) -> Flag | None:
        """Return a compiled flag, None if there is no such flag."""
        flag = self._known(key)
        if flag is None and (definition := self._definition_of(key)) is not None:
            flag = self.compile(key, definition)
        return flag

    def compile(self, key: str, definition: Any) -> Flag:
        """Compile a definition. A lenient import may have stored any JSON."""
        if key in self._open:
            return circular_flag(key)
        self._open.add(key)
        if len(self._open) > 1:
            # Another flag needs this one. The next ones are compiled first, and not within its
            # rule: a chain of flags would exceed the depth of Python's calls.
            self._compile_needed(definition)
        return self._finish(key, definition)

    def _finish(self, key: str, definition: Any) -> Flag:
        flag = Flag(key, definition if isinstance(definition, dict) else {}, self.flag_set)
        self._open.discard(key)
        self._compiled[key] = flag
        return flag

    def _known(self, key: str) -> Flag | None:
        flag = self._compiled.get(key)
        return self._flags.get(key) if flag is None and key not in self._stale else flag

    def _compile_needed(self, definition: Any) -> None:
        """Compile the flags that a definition needs, each after those that it needs itself."""
        waiting = _keys_needed(definition)
        begun: set[str] = set()
        while waiting:
            key = waiting[-1]
            definition = self._definition_of(key)
            if definition is None or self._known(key) is not None or key in self._open - begun:
                waiting.pop()
            elif key in begun:
                waiting.pop()
                self._finish(key, definition)
            else:
                begun.add(key)
                self._open.add(key)
                waiting += [key for key in _keys_needed(definition) if key not in self._open]


def _keys_needed(definition: Any) -> list[str]:
    """Return the flags that are evaluated for a definition: none for a disabled flag."""
    if not isinstance(definition, dict) or without_plan(definition).get("state") != "ENABLED":
        return []
    return [need.flag for need in needs_of(definition)]


def circular_flag(key: str) -> Flag:
    """Return the flag that a rule gets instead of the flag that is just being compiled."""
    flag = Flag(key, {}, FlagSet({}, "", {}))
    flag.is_circular = True
    return flag
