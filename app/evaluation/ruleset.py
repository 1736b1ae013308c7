"""The compiled flags of an environment. An unchanged flag is not compiled again."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, reduce
from itertools import chain
from operator import xor
from typing import Any

import msgspec

from app.evaluation.bulk import Bulk
from app.evaluation.engine import Flag, FlagSet
from app.evaluation.flag_compiler import FlagCompiler
from app.evaluation.lists import HashedList, list_reference, loaded_list
from app.evaluation.parts import Parts, parts_in_use
from app.evaluation.shared_mapping import KeySet, SharedMapping
from app.evaluation.transitions import Transitions

_DIGEST_BITS = 128
# Without the hook, a number near the limits of a double takes 7 µs.
decode_definition = msgspec.json.Decoder(float_hook=float).decode


@dataclass(frozen=True, kw_only=True)
class Rule:
    """The definition of a flag or segment; `state` identifies its version."""

    key: str
    is_segment: bool
    value: Any
    state: str


@dataclass(frozen=True, kw_only=True)
class Ruleset:
    """Immutable. `flags` are in the order of their keys, and `bulk` evaluates all of them.

    `definitions` are the sources of the flags as JSON, at a tenth of the size of objects. `states`
    are the hashes of the rules, `timed` the flags whose outcomes may change with the time, and
    `needing` the flags that need others. `parts` are shared by its flags and those of later
    rulesets. `lists` holds the lists in memory. `whole` is set for a part of the rules: its flags
    are evaluated by all rules.
    """

    fractional: str
    metadata: Mapping[str, Any]
    flags: SharedMapping[Flag] = field(default_factory=SharedMapping)
    bulk: Bulk = field(default_factory=Bulk)
    segments: Mapping[str, Any] = field(default_factory=dict)
    definitions: SharedMapping[bytes] = field(default_factory=SharedMapping)
    states: SharedMapping[int] = field(default_factory=SharedMapping)
    states_digest: int = 0
    timed: Mapping[str, Flag] = field(default_factory=dict)
    needing: Mapping[str, Flag] = field(default_factory=dict)
    parts: Parts = field(default_factory=parts_in_use)
    lists: Sequence[HashedList] = ()
    whole: "Ruleset | None" = None

    @cached_property
    def digest(self) -> int:
        """Hash the definitions, the generation of bucketing and the metadata, in any order."""
        return self.states_digest ^ _hash(self.fractional.encode(), _encoded(self.metadata))

    @cached_property
    def outcomes_digest(self) -> int:
        """Hash everything that outcomes depend on except context and time."""
        if self.whole is None:
            return self.digest
        used = frozenset[str]().union(*(flag.references for flag in self.flags.values()))
        foreign = (self.whole.states.get(key, 0) for key in used if key not in self.states)
        return reduce(xor, foreign, self.digest)

    @property
    def uses_time(self) -> bool:
        return bool(self.timed)

    @cached_property
    def transitions(self) -> Transitions:
        """The seconds at which an outcome may change with the time."""
        return Transitions(
            [flag.transitions for flag in self.timed.values() if flag.transitions],
            is_known=all(flag.transitions_are_known for flag in self.timed.values()),
        )

    @property
    def flag_set(self) -> FlagSet:
        """What a flag of these rules is compiled with."""
        rules = self.whole or self
        return FlagSet(rules.segments, rules.fractional, rules.metadata, flag_of=rules.flags.get)

    def has_settings(self, fractional: str, metadata: Mapping[str, Any]) -> bool:
        """Return whether the rules have this generation of bucketing and this metadata."""
        # Compare JSON, because True equals 1 in Python.
        return fractional == self.fractional and _encoded(metadata) == _encoded(self.metadata)

    def users(self, segments: set[str]) -> set[str]:
        """Return the flags that use one of these segments, directly or through others."""
        if not segments:
            return set()
        return {key for key, flag in self.flags.items() if not flag.references.isdisjoint(segments)}

    def with_dependents(self, keys: set[str]) -> set[str]:
        """Return keys, and the flags that need one of them, directly or through others."""
        waiting, count = dict(self.needing), -1
        # One pass suffices, except for a circle: its flags know a part of what they need.
        while waiting and len(waiting) != count:
            count = len(waiting)
            keys = keys | {k for k, flag in waiting.items() if not flag.references.isdisjoint(keys)}
            waiting = {key: flag for key, flag in waiting.items() if key not in keys}
        return keys

    def limited_to(self, keys: KeySet, earlier: "Ruleset | None" = None) -> "Ruleset":
        """Return the rules of these keys, which are evaluated by all rules.

        `earlier` are the rules of the same keys at an earlier revision, if they are known: then the
        cost depends on the number of changed keys.
        """
        part = earlier or Ruleset(fractional=self.fractional, metadata=self.metadata)
        before = part.whole or part
        flags = self.flags.updated_part(part.flags, before.flags, keys)
        flags = _shown(flags, _changed_keys(flags, part.flags), keys)
        states = self.states.updated_part(part.states, before.states, keys)
        touched = _changed_keys(states, part.states)
        pairs = ((part.states.get(key, 0), states.get(key, 0)) for key in touched)
        return replace(
            self,
            flags=flags,
            bulk=part.bulk.with_changes(flags, _changed_keys(flags, part.flags)),
            segments={key: value for key, value in self.segments.items() if key in keys},
            definitions=self.definitions.updated_part(part.definitions, before.definitions, keys),
            states=states,
            states_digest=reduce(xor, chain.from_iterable(pairs), part.states_digest),
            timed={key: flag for key, flag in self.timed.items() if key in keys},
            needing={key: flag for key, flag in self.needing.items() if key in keys},
            whole=self,
        )

    def with_settings(self, fractional: str, metadata: Mapping[str, Any]) -> "Ruleset":
        """Return the rules compiled for another generation of bucketing or other metadata."""
        if self.has_settings(fractional, metadata):
            return self
        changed = replace(self, fractional=fractional, metadata=metadata)
        return changed._with(self.definitions, self.segments, self.definitions)  # noqa: SLF001

    def with_changes(self, put: Iterable[Rule], removed: Iterable[str]) -> "Ruleset":
        """Return a copy with these rules added or replaced, and these keys removed."""
        touched: dict[str, Rule | None] = {key: None for key in removed if key in self.states}
        touched |= {rule.key: rule for rule in put}
        if not touched:
            return self
        segments, digest = dict(self.segments), self.states_digest
        definitions: dict[str, bytes] = {}
        states: dict[str, int] = {}
        for key, rule in touched.items():
            segments.pop(key, None)
            digest ^= self.states.get(key, 0)
            if rule is None:
                continue
            states[key] = _state(rule)
            digest ^= states[key]
            if rule.is_segment:
                segments[key] = rule.value
            else:
                definitions[key] = msgspec.json.encode(rule.value)
        moved = {key for key in touched if key in self.segments or key in segments}
        stale = self.with_dependents(touched.keys() | self.users(moved))
        changed = replace(
            self,
            states=self.states.changed(states, touched),
            states_digest=digest,
            lists=tuple(_lists_of(segments)) if moved else self.lists,
        )
        return changed._with(  # noqa: SLF001 - same class
            self.definitions.changed(definitions, touched), segments, stale
        )

    def _with(
        self, definitions: SharedMapping[bytes], segments: Mapping[str, Any], stale: Iterable[str]
    ) -> "Ruleset":
        """Return the rules with these definitions; compile the stale ones."""
        stale = list(stale)
        compiler = FlagCompiler(
            FlagSet(segments, self.fractional, self.metadata, self.parts),
            lambda key: (decode_definition(definitions[key]) or {}) if key in definitions else None,
            flags=self.flags,
            stale=set(stale),
        )
        compiled = {key: flag for key in stale if (flag := compiler.flag_of(key)) is not None}
        flags = self.flags.changed(compiled, stale)
        timed = {key: flag for key, flag in self.timed.items() if flags.get(key) is flag}
        timed |= {key: flag for key, flag in compiled.items() if flag.uses_time}
        needing = {key: flag for key, flag in self.needing.items() if flags.get(key) is flag}
        needing |= {key: flag for key, flag in compiled.items() if flag.needs_flags}
        bulk = self.bulk.with_changes(flags, stale)
        return replace(
            self,
            flags=flags,
            bulk=bulk,
            segments=segments,
            definitions=definitions,
            timed=timed,
            needing=needing,
        )


def _shown(flags: SharedMapping[Flag], changed: Iterable[str], keys: KeySet) -> SharedMapping[Flag]:
    """Return the flags. The changed ones name no place in a segment of other keys."""
    broken = [flag for key in changed if (flag := flags.get(key)) and flag.broken_within]
    shown = {flag.key: flag.shown_to(keys.__contains__) for flag in broken}
    return flags.changed(shown) if shown else flags


def _changed_keys(after: SharedMapping[Any], before: SharedMapping[Any]) -> Iterable[str]:
    """Return the keys whose items differ between two mappings."""
    changes = after.changes_since(before)
    return {*before, *after} if changes is None else [*changes[0], *changes[1]]


def _lists_of(segments: Mapping[str, Any]) -> Iterator[HashedList]:
    for value in segments.values():
        reference = list_reference(value)
        list_ = loaded_list(reference.digest) if reference is not None else None
        if list_ is not None:
            yield list_


def _state(rule: Rule) -> int:
    kind = b"segment" if rule.is_segment else b"flag"
    return _hash(kind, rule.key.encode(), rule.state.encode())


def _encoded(metadata: Mapping[str, Any]) -> bytes:
    return msgspec.json.encode(metadata, order="sorted")


def _hash(*parts: bytes) -> int:
    """Return a 128-bit hash of the parts. Hashes are combined by exclusive or."""
    whole = b"\n".join(parts)
    return int.from_bytes(hashlib.blake2b(whole, digest_size=_DIGEST_BITS // 8).digest())
