"""All flags of an environment, compiled. A flag that stays the same stays compiled."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from app.evaluation.engine import Flag

_DIGEST_BITS = 128


@dataclass(frozen=True, kw_only=True)
class Rule:
    """A flag's or a segment's definition, and what names this state of it."""

    key: str
    is_segment: bool
    value: Any
    state: str


@dataclass(frozen=True, kw_only=True)
class Ruleset:
    """Immutable. `digest` names all definitions, wherever and in whatever order they came in."""

    fractional: str
    metadata: Mapping[str, Any]
    flags: Mapping[str, Flag] = field(default_factory=dict)
    segments: Mapping[str, Any] = field(default_factory=dict)
    definitions: Mapping[str, Any] = field(default_factory=dict)
    states: Mapping[str, int] = field(default_factory=dict)
    digest: int = 0
    uses_time: bool = False

    def under(self, fractional: str, metadata: Mapping[str, Any]) -> "Ruleset":
        """Return the rules under another generation or flag-set metadata, all compiled anew."""
        if (fractional, metadata) == (self.fractional, self.metadata):
            return self
        changed = replace(self, fractional=fractional, metadata=metadata)
        flags = {
            key: changed._compiled(key, definition, self.segments)  # noqa: SLF001 - one of us
            for key, definition in self.definitions.items()
        }
        return replace(changed, flags=flags)

    def advanced(self, put: Iterable[Rule], gone: Iterable[str]) -> "Ruleset":
        """Return the rules after some were put and some keys have gone, or ceased to be rules."""
        put, gone = list(put), [key for key in gone if key in self.states]
        if not put and not gone:
            return self
        flags, segments = dict(self.flags), dict(self.segments)
        definitions, states = dict(self.definitions), dict(self.states)
        digest = self.digest
        moved: set[str] = set()
        for key in (*gone, *(rule.key for rule in put)):
            digest ^= states.pop(key, 0)
            flags.pop(key, None)
            definitions.pop(key, None)
            if segments.pop(key, None) is not None:
                moved.add(key)
        for rule in put:
            states[rule.key] = _state(rule)
            digest ^= states[rule.key]
            if rule.is_segment:
                segments[rule.key] = rule.value
                moved.add(rule.key)
            else:
                definitions[rule.key] = rule.value
        stale = {rule.key for rule in put if not rule.is_segment}
        stale |= {key for key, value in _referring(flags, moved)}
        for key in sorted(stale):
            flags[key] = self._compiled(key, definitions[key], segments)
        return replace(
            self,
            flags=dict(sorted(flags.items())),
            segments=segments,
            definitions=definitions,
            states=states,
            digest=digest,
            uses_time=any(flag.uses_time for flag in flags.values()),
        )

    def _compiled(self, key: str, definition: Any, segments: Mapping[str, Any]) -> Flag:
        return Flag(
            key,
            definition if isinstance(definition, dict) else {},
            segments=segments,
            fractional=self.fractional,
            metadata=self.metadata,
        )


def _referring(flags: Mapping[str, Flag], segments: set[str]) -> Iterator[tuple[str, Flag]]:
    if segments:
        for key, flag in flags.items():
            if not segments.isdisjoint(flag.references):
                yield key, flag


def _state(rule: Rule) -> int:
    """Return a number that names a rule's state; they are combined by exclusive or."""
    text = f"{rule.is_segment}\n{rule.key}\n{rule.state}".encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=_DIGEST_BITS // 8).digest())
