"""Lists: sets of up to a million strings, which flags ask by the operator `in_list`.

An entry of kind segment names a list by its digest. In memory a list is a sorted array of 64-bit
hashes with a random salt. A string that is not in a list of a million values matches with a
probability of 5 · 10⁻¹⁴, and without the salt no client can choose a string that does.
"""

import sys
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any
from weakref import WeakValueDictionary

import msgspec

COUNT_MAX = 1_000_000
VALUE_LENGTH_MAX = 255
# A list up to this count is inlined into documents for flagd's evaluators.
INLINED_MAX = 10_000
MEMBER = "list"

_DIGEST_LENGTH = 64
_HEXADECIMAL = frozenset("0123456789abcdef")
_HASH_BITS = 64
# The binary search reads about this many hashes.
_BUCKET_HASHES = 16
# A set of more instants would take too much memory in each flag.
_INSTANTS_MAX = 1_000

FOREVER = 2**62
REMOVED = 0


@dataclass(frozen=True, slots=True)
class ListReference:
    """The number of values of a list, and its digest in hex."""

    count: int
    digest: str

    @property
    def value(self) -> dict[str, Any]:
        """The value of an entry that names the list."""
        return {MEMBER: {"count": self.count, "digest": self.digest}}


def names_list(value: Any) -> bool:
    """Return whether the value of a segment is a list, maybe a malformed one."""
    return isinstance(value, dict) and value.keys() == {MEMBER}


def list_reference(value: Any) -> ListReference | None:
    """Return the list that the value of a segment names, None for any other value."""
    if not names_list(value):
        return None
    list_ = value[MEMBER]
    if not isinstance(list_, dict) or list_.keys() != {"count", "digest"}:
        return None
    count, digest = list_["count"], list_["digest"]
    if type(count) is not int or not 0 <= count <= COUNT_MAX or not isinstance(digest, str):
        return None
    if len(digest) != _DIGEST_LENGTH or not _HEXADECIMAL.issuperset(digest):
        return None
    return ListReference(count, digest)


def value_hash(salt: bytes, value: str) -> int:
    """Return the hash of a value as a signed 64-bit number."""
    raw = value.encode(errors="surrogatepass")
    return int.from_bytes(blake2b(raw, digest_size=8, salt=salt).digest(), signed=True)


class ListContent(msgspec.Struct, frozen=True, kw_only=True):
    """The hashes of a list as big-endian bytes, in their order.

    `base` is the digest of the list that the hashes are of, and `changes` lead to another one.

    `expiring` and `changes` have pairs of a hash and the Unix second of its expiry. `lasting_texts`
    and `expiring_texts` are the values of a small list in the same order, and empty for a larger
    one.
    """

    base: str
    salt: bytes
    lasting: bytes
    expiring: bytes = b""
    changes: bytes = b""
    lasting_texts: Sequence[str] = ()
    expiring_texts: Sequence[str] = ()


class HashedList:
    """A list in memory: 8 bytes for each value, 16 if it expires. Immutable.

    `changes` are the changes since its arrays were read: the second at which a hash expires,
    `FOREVER` or `REMOVED`. So a later state shares the arrays.
    """

    __slots__ = (
        "__weakref__",
        "_bucket_of_0",
        "_buckets",
        "_expiring_texts",
        "_lasting",
        "_lasting_texts",
        "_shift",
        "_timed",
        "_until",
        "base",
        "changes",
        "instants",
        "reference",
        "salt",
    )

    def __init__(self, reference: ListReference, content: ListContent) -> None:
        self.reference = reference
        self.base, self.salt = content.base, content.salt
        self._lasting_texts, self._expiring_texts = content.lasting_texts, content.expiring_texts
        self.changes = changes_of(content)
        self._lasting = _numbers(content.lasting)
        pairs = _numbers(content.expiring)
        self._timed, self._until = pairs[::2], pairs[1::2]
        bits = max(1, (len(self._lasting) // _BUCKET_HASHES).bit_length())
        self._shift, self._bucket_of_0 = _HASH_BITS - bits, 1 << (bits - 1)
        self._buckets = self._starts(bits)
        self.instants = _instants((*self._until, *self.changes.values()))

    def _starts(self, bits: int) -> "array[int]":
        """Return the position of the first hash of each bucket, and the end of the last one."""
        first = -self._bucket_of_0
        starts = array("I")
        at = 0
        for bucket in range(first, first + (1 << bits)):
            at = bisect_left(self._lasting, bucket << self._shift, at)
            starts.append(at)
        starts.append(len(self._lasting))
        return starts

    def has(self, value: Any, now: int) -> bool:
        """Return whether a value is in the list at a time (Unix seconds); false for no string."""
        if type(value) is not str or len(value) > VALUE_LENGTH_MAX:
            return False
        raw = value.encode(errors="surrogatepass")
        hash_ = int.from_bytes(blake2b(raw, digest_size=8, salt=self.salt).digest(), signed=True)
        if self.changes:
            until = self.changes.get(hash_)
            if until is not None:
                return now < until
        lasting, bucket = self._lasting, (hash_ >> self._shift) + self._bucket_of_0
        end = self._buckets[bucket + 1]
        at = bisect_left(lasting, hash_, self._buckets[bucket], end)
        if at < end and lasting[at] == hash_:
            return True
        return bool(self._timed) and self._has_timed(hash_, now)

    def _has_timed(self, hash_: int, now: int) -> bool:
        at = bisect_left(self._timed, hash_)
        # Values with equal hashes may expire at different times.
        while at < len(self._timed) and self._timed[at] == hash_:
            if now < self._until[at]:
                return True
            at += 1
        return False

    def changed(self, reference: ListReference, changes: Mapping[int, int]) -> "HashedList":
        """Return a later state, which shares the arrays."""
        later = HashedList.__new__(HashedList)
        for name in HashedList.__slots__[1:]:
            setattr(later, name, getattr(self, name))
        later.reference = reference
        later.changes = {**self.changes, **changes}
        if self.instants is not None:
            later.instants = _instants((*self.instants, *changes.values()))
        return later

    def with_changes(self, reference: ListReference, changes: Mapping[int, int]) -> "HashedList":
        """Return another state of the same base: these are all changes since the base."""
        other = self.changed(reference, changes)
        other.changes = changes
        return other

    @property
    def content(self) -> ListContent:
        """The list as bytes, for a file or a relay."""
        timed = array("q", bytes(16 * len(self._timed)))
        timed[::2], timed[1::2] = self._timed, self._until
        return ListContent(
            base=self.base,
            salt=self.salt,
            lasting=_raw(self._lasting),
            expiring=_raw(timed),
            changes=self.changes_alone.changes,
            lasting_texts=self._lasting_texts,
            expiring_texts=self._expiring_texts,
        )

    @property
    def without_changes(self) -> ListContent:
        """The base, for a file that later states share."""
        return msgspec.structs.replace(self.content, changes=b"")

    @property
    def changes_alone(self) -> ListContent:
        """The changes since the base, for a reader that has the base."""
        pairs = array("q", [number for pair in self.changes.items() for number in pair])
        return ListContent(base=self.base, salt=self.salt, lasting=b"", changes=_raw(pairs))

    @property
    def is_exact(self) -> bool:
        """Whether the values themselves are in memory, and not only their hashes."""
        return self.reference.count <= INLINED_MAX and not self.changes

    def texts(self) -> Mapping[int | None, Sequence[str]]:
        """Return the values of a small list by the seconds at which they expire."""
        by_until: dict[int | None, list[str]] = {}
        if self._lasting_texts:
            by_until[None] = sorted(self._lasting_texts)
        for text, until in zip(self._expiring_texts, self._until, strict=True):
            by_until.setdefault(until, []).append(text)
        return by_until


def changes_of(content: ListContent) -> Mapping[int, int]:
    """Return the second at which each changed hash expires, `FOREVER` or `REMOVED`."""
    pairs = _numbers(content.changes)
    return dict(zip(pairs[::2], pairs[1::2], strict=True))


def _numbers(raw: bytes) -> "array[int]":
    numbers = array("q")
    numbers.frombytes(raw)
    if sys.byteorder == "little":
        numbers.byteswap()
    return numbers


def _raw(numbers: "array[int]") -> bytes:
    if sys.byteorder == "little":
        numbers = numbers[:]
        numbers.byteswap()
    return numbers.tobytes()


def _instants(expiries: Iterable[int]) -> frozenset[int] | None:
    """Return the seconds at which values expire, None if there are too many to list."""
    instants: set[int] = set()
    for until in expiries:
        if REMOVED < until < FOREVER:
            instants.add(until)
        if len(instants) > _INSTANTS_MAX:
            return None
    return frozenset(instants)


# The lists in memory by digest. The rules that use a list hold it.
LOADED: WeakValueDictionary[str, HashedList] = WeakValueDictionary()


def register(list_: HashedList) -> HashedList:
    """Let rules find a list by its digest as long as something holds it."""
    LOADED[list_.reference.digest] = list_
    return list_


def loaded_list(digest: str) -> HashedList | None:
    return LOADED.get(digest)


def loaded_of_base(base: str) -> HashedList | None:
    """Return a loaded list whose arrays are those of a base."""
    return next((list_ for list_ in list(LOADED.values()) if list_.base == base), None)


def loaded_bases(most: int) -> list[str]:
    """Return the bases of the largest loaded lists."""
    lists = sorted(LOADED.values(), key=lambda list_: -list_.reference.count)
    return list(dict.fromkeys(list_.base for list_ in lists))[:most]


def loaded_digests() -> list[str]:
    return list(LOADED.keys())
