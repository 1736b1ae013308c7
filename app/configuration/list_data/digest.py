"""The digest of a list: the same for the same values, whatever the way to them.

Each value has a hash of 4,096 bits, which covers its expiry. The digest is the SHA-256 of the
count and of the sum of these hashes modulo 2^4096. So a change of ten values needs only these ten.
To find another list with a given sum takes about 2^128 operations (Wagner's generalized birthday
attack).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256, shake_128

from app.evaluation.lists import ListReference

SUM_BYTES = 512
_MODULUS = 1 << (SUM_BYTES * 8)
_PURPOSE = b"flagstone-list-1\n"

# A value, and the Unix second at which it expires.
Element = tuple[str, int | None]


@dataclass(frozen=True, slots=True)
class ListSum:
    """The number of values, and the sum of their hashes."""

    count: int = 0
    sum: int = 0

    def changed(self, added: Iterable[Element] = (), removed: Iterable[Element] = ()) -> "ListSum":
        count, total = self.count, self.sum
        for element in added:
            count, total = count + 1, total + _hash(*element)
        for element in removed:
            count, total = count - 1, total - _hash(*element)
        return ListSum(count, total % _MODULUS)

    @property
    def raw(self) -> bytes:
        return self.sum.to_bytes(SUM_BYTES)

    @property
    def digest(self) -> bytes:
        return sha256(_PURPOSE + self.count.to_bytes(8) + self.raw).digest()

    @property
    def reference(self) -> ListReference:
        return ListReference(self.count, self.digest.hex())


def sum_of(count: int, raw: bytes) -> ListSum:
    return ListSum(count, int.from_bytes(raw))


def _hash(value: str, expiry: int | None) -> int:
    text = value if expiry is None else f"{value}\n{expiry}"
    return int.from_bytes(shake_128(text.encode()).digest(SUM_BYTES))
