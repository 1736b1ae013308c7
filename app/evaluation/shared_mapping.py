"""Immutable mappings whose changed copies share almost everything.

A copy of a dict with ten thousand items touches twenty thousand objects, which takes milliseconds
if they are not in the cache of the processor. Here only the sections with changed keys are copied.
"""

from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice, takewhile
from typing import Any, Protocol, TypeVar, overload

Value = TypeVar("Value")
Default = TypeVar("Default")

# About the number of items that are copied for each changed key.
_SECTION_ITEMS = 64
# To insert more keys one by one would take longer than to sort all.
_INSERTED_KEYS_MAX = 20


class KeySet(Protocol):
    """The keys that begin with one of some prefixes."""

    @property
    def prefixes(self) -> tuple[str, ...]: ...
    def __contains__(self, key: str, /) -> bool: ...


class SharedMapping(Mapping[str, Value]):
    """A mapping in the order of its keys, with sections by the hash of the key."""

    __slots__ = ("_mask", "sections", "sorted_keys")

    def __init__(
        self, sections: Sequence[dict[str, Value]] = ({},), sorted_keys: Sequence[str] = ()
    ) -> None:
        # The number of sections is a power of two.
        self.sections = sections
        self._mask = len(sections) - 1
        self.sorted_keys = sorted_keys

    def __getitem__(self, key: str) -> Value:
        return self.sections[hash(key) & self._mask][key]

    def __contains__(self, key: object) -> bool:
        return key in self.sections[hash(key) & self._mask]

    @overload
    def get(self, key: str, /) -> Value | None: ...
    @overload
    def get(self, key: str, /, default: Value | Default) -> Value | Default: ...
    def get(self, key: str, /, default: Any = None) -> Any:
        return self.sections[hash(key) & self._mask].get(key, default)

    def __iter__(self) -> Iterator[str]:
        return iter(self.sorted_keys)

    def __len__(self) -> int:
        return len(self.sorted_keys)

    def changed(
        self, put: Mapping[str, Value], removed: Iterable[str] = ()
    ) -> "SharedMapping[Value]":
        """Return a copy with these items added or replaced, and these keys removed."""
        added = [key for key in put if key not in self]
        gone = {key for key in removed if key in self and key not in put}
        sorted_keys = self._sorted_keys(added, gone)
        sections, mask = self._copied_sections(len(sorted_keys))
        own: set[int] = set()
        for key in (*gone, *put):
            number = hash(key) & mask
            if number not in own:
                own.add(number)
                sections[number] = dict(sections[number])
            if key in put:
                sections[number][key] = put[key]
            else:
                del sections[number][key]
        return SharedMapping(sections, sorted_keys)

    def limited_to(self, keys: KeySet) -> "SharedMapping[Value]":
        """Return the items of these keys."""
        own = sorted(key for prefix in keys.prefixes for key in self._below(prefix))
        sections: list[dict[str, Value]] = [{} for _ in range(_section_count(len(own)))]
        mask = len(sections) - 1
        for key in own:
            sections[hash(key) & mask][key] = self[key]
        return SharedMapping(sections, own)

    def _below(self, prefix: str) -> Iterator[str]:
        start = bisect_left(self.sorted_keys, prefix)
        return takewhile(lambda key: key.startswith(prefix), islice(self.sorted_keys, start, None))

    def updated_part(
        self,
        part: "SharedMapping[Value]",
        before: "SharedMapping[Value]",
        keys: KeySet,
    ) -> "SharedMapping[Value]":
        """Return `limited_to(keys)`, made of that part of an earlier mapping."""
        if self is before:
            return part
        changes = self.changes_since(before)
        if changes is None:
            return self.limited_to(keys)
        put = {key: value for key, value in changes[0].items() if key in keys}
        removed = [key for key in changes[1] if key in keys]
        return part.changed(put, removed) if put or removed else part

    def changes_since(
        self, before: "SharedMapping[Value]"
    ) -> tuple[dict[str, Value], list[str]] | None:
        """Return the items that are not in an earlier mapping, and the keys that are gone.

        Items are compared by identity. None if the sections differ in number.
        """
        if len(self.sections) != len(before.sections):
            return None
        put: dict[str, Value] = {}
        removed: list[str] = []
        for section, earlier in zip(self.sections, before.sections, strict=True):
            if section is not earlier:
                put |= {k: item for k, item in section.items() if earlier.get(k) is not item}
                removed += [key for key in earlier if key not in section]
        return put, removed

    def _sorted_keys(self, added: Sequence[str], gone: set[str]) -> Sequence[str]:
        if not added and not gone:
            return self.sorted_keys
        if len(added) + len(gone) > _INSERTED_KEYS_MAX:
            return sorted(
                (*(self.sorted_keys if not gone else (k for k in self if k not in gone)), *added)
            )
        keys = list(self.sorted_keys)
        for key in gone:
            del keys[bisect_left(keys, key)]
        for key in added:
            insort(keys, key)
        return keys

    def _copied_sections(self, size: int) -> tuple[list[dict[str, Value]], int]:
        """Return sections for a number of items, shared with this mapping unless that grew."""
        count = _section_count(size)
        if count == len(self.sections):
            return list(self.sections), self._mask
        sections: list[dict[str, Value]] = [{} for _ in range(count)]
        for section in self.sections:
            for key, value in section.items():
                sections[hash(key) & (count - 1)][key] = value
        return sections, count - 1


def _section_count(size: int) -> int:
    """Return the number of sections for a number of items, a power of two."""
    return 1 << (size // _SECTION_ITEMS).bit_length()
