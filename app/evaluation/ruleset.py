"""All flags of an environment, compiled. A flag that stays the same stays compiled."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import msgspec

from app.evaluation.bulk import Bulk
from app.evaluation.engine import Flag
from app.evaluation.turns import Turns

_DIGEST_BITS = 128
# The hook keeps numbers near the ends of a double's range from taking 7 microseconds each.
decode_definition = msgspec.json.Decoder(float_hook=float).decode


@dataclass(frozen=True, kw_only=True)
class Rule:
    """A flag's or a segment's definition, and what names this state of it."""

    key: str
    is_segment: bool
    value: Any
    state: str


@dataclass(frozen=True, kw_only=True)
class Ruleset:
    """Immutable. `flags` are in the order of their keys, and `bulk` is for evaluating them all;
    `definitions` are what they were compiled from, as JSON, which is a tenth of the size; `states`
    name the state of each rule.
    """

    fractional: str
    metadata: Mapping[str, Any]
    flags: Mapping[str, Flag] = field(default_factory=dict)
    bulk: Bulk = field(default_factory=Bulk)
    segments: Mapping[str, Any] = field(default_factory=dict)
    definitions: Mapping[str, bytes] = field(default_factory=dict)
    states: Mapping[str, int] = field(default_factory=dict)
    states_digest: int = 0

    @cached_property
    def digest(self) -> int:
        """Name all that an outcome depends on but its context and the time, in whatever order it
        came in.
        """
        return self.states_digest ^ _number(self.fractional.encode(), _encoded(self.metadata))

    @cached_property
    def uses_time(self) -> bool:
        return any(flag.uses_time for flag in self.flags.values())

    @cached_property
    def turns(self) -> Turns:
        """The instants at which an outcome may change by itself."""
        return Turns(
            [flag.turns for flag in self.flags.values() if flag.turns],
            is_known=all(flag.turns_are_known for flag in self.flags.values()),
        )

    def is_under(self, fractional: str, metadata: Mapping[str, Any]) -> bool:
        """Tell whether the rules are under this generation and this flag-set metadata."""
        # As JSON, since True equals 1 in Python and is another value to everybody else.
        return fractional == self.fractional and _encoded(metadata) == _encoded(self.metadata)

    def under(self, fractional: str, metadata: Mapping[str, Any]) -> "Ruleset":
        """Return the rules under another generation or flag-set metadata, all compiled anew."""
        if self.is_under(fractional, metadata):
            return self
        changed = replace(self, fractional=fractional, metadata=metadata)
        return changed._with(self.definitions, self.segments, self.definitions)  # noqa: SLF001

    def advanced(self, put: Iterable[Rule], gone: Iterable[str]) -> "Ruleset":
        """Return the rules after some were put and some keys have gone, or ceased to be rules."""
        touched: dict[str, Rule | None] = {key: None for key in gone if key in self.states}
        touched |= {rule.key: rule for rule in put}
        if not touched:
            return self
        segments, definitions = dict(self.segments), dict(self.definitions)
        states, digest = dict(self.states), self.states_digest
        for key, rule in touched.items():
            segments.pop(key, None)
            definitions.pop(key, None)
            digest ^= states.pop(key, 0)
            if rule is None:
                continue
            states[key] = _state(rule)
            digest ^= states[key]
            if rule.is_segment:
                segments[key] = rule.value
            else:
                definitions[key] = msgspec.json.encode(rule.value)
        moved = {key for key in touched if key in self.segments or key in segments}
        stale = touched.keys() | _referring(self.flags, moved)
        changed = replace(self, states=states, states_digest=digest)
        return changed._with(definitions, segments, stale)  # noqa: SLF001 - one of us

    def _with(
        self, definitions: Mapping[str, bytes], segments: Mapping[str, Any], stale: Iterable[str]
    ) -> "Ruleset":
        """Return the rules with these definitions, of which the stale ones are compiled."""
        flags, stale = dict(self.flags), list(stale)
        for key in stale:
            if key in definitions:
                flags[key] = self._compiled(key, definitions[key], segments)
            else:
                flags.pop(key, None)
        if flags.keys() != self.flags.keys():
            flags = dict(sorted(flags.items()))
        bulk = self.bulk.advanced(flags, stale)
        return replace(self, flags=flags, bulk=bulk, segments=segments, definitions=definitions)

    def _compiled(self, key: str, raw: bytes, segments: Mapping[str, Any]) -> Flag:
        definition = decode_definition(raw)
        return Flag(
            key,
            definition if isinstance(definition, dict) else {},
            segments=segments,
            fractional=self.fractional,
            metadata=self.metadata,
        )


def _referring(flags: Mapping[str, Flag], segments: set[str]) -> set[str]:
    """Return the flags that use any of some segments."""
    if not segments:
        return set()
    return {key for key, flag in flags.items() if not segments.isdisjoint(flag.references)}


def _state(rule: Rule) -> int:
    kind = b"segment" if rule.is_segment else b"flag"
    return _number(kind, rule.key.encode(), rule.state.encode())


def _encoded(metadata: Mapping[str, Any]) -> bytes:
    return msgspec.json.encode(metadata, order="sorted")


def _number(*parts: bytes) -> int:
    """Return a number that names the parts; several are combined by exclusive or."""
    whole = b"\n".join(parts)
    return int.from_bytes(hashlib.blake2b(whole, digest_size=_DIGEST_BITS // 8).digest())
