"""Compute the bucket of a value for flagd's `fractional`, in two generations.

Both generations hash with MurmurHash3 (x86, 32 bit, seed 0) and scale the hash to the sum of the
weights. v2 hashes the UTF-8 of a string. v3 hashes the deterministic CBOR of any value (RFC 8949,
section 4.2.1), so that all languages agree on strings beyond ASCII and on other types.
"""

import math
import struct
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import mmh3

from app.evaluation.run import TEXT_FREE, Run
from app.evaluation.values import double

WEIGHTS_MAX = 2**31 - 1

# Hashes bytes only: a str with a lone surrogate would crash the process inside the library.
digest: Callable[[bytes], int] = mmh3.mmh3_32_uintdigest


def bucket(seed: bytes, total_weight: int) -> int:
    """Return a number from 0 to below the total weight, evenly spread over seeds."""
    return (digest(seed) * total_weight) >> 32


class Generation(NamedTuple):
    """How to build the bytes to hash: `seed` from a bucketing value. Without one, the usual case,
    `head` from the flag's key, followed by `tail` from the targeting key.
    """

    seed: Callable[[Any, Run], bytes | None]
    head: Callable[[str], bytes]
    tail: Callable[[str], bytes]


def _seed_v2(value: Any, run: Run) -> bytes | None:
    return _utf8(value, run) if isinstance(value, str) else None


def _seed_v3(value: Any, run: Run) -> bytes | None:
    return None if value is None else cbor(value, run)


def plain(text: str) -> bytes:
    """Return the UTF-8 of a string, which may have lone surrogates."""
    return text.encode(errors="surrogatepass")


def _cbor_text(text: str) -> bytes:
    encoded = plain(text)
    return _head(3, len(encoded)) + encoded


def _cbor_pair(flag_key: str) -> bytes:
    return _head(4, 2) + _cbor_text(flag_key)


GENERATIONS: dict[str, Generation] = {
    "v2": Generation(_seed_v2, head=plain, tail=plain),
    "v3": Generation(_seed_v3, head=_cbor_pair, tail=_cbor_text),
}


def hashed_key(generation: Generation, run: Run) -> bytes:
    """Return the bytes to hash of the targeting key, empty when there is none.

    Cached in the run, unless the key is long: then each use spends steps.
    """
    key = run.context.get("targetingKey")
    if not isinstance(key, str):
        key = ""
    run.spend_on_text(key)
    hashed = generation.tail(key) if key else b""
    if len(key) <= TEXT_FREE:
        run.hashed_key = hashed
    return hashed


def cumulative(weights: Sequence[Any]) -> list[int] | None:
    """Return the running sums of weights, None when a weight is invalid or the sum is too large.

    A computed weight may be negative, which counts as 0, or a double that is a whole number.
    """
    sums: list[int] = []
    total = 0
    for weight in weights:
        if isinstance(weight, bool) or not isinstance(weight, int | float):
            return None
        if isinstance(weight, float) and not weight.is_integer():
            return None
        total += max(0, int(weight))
        sums.append(total)
    return sums if 0 < total <= WEIGHTS_MAX else None


@lru_cache(maxsize=1024)
def limits_of(sums: tuple[int, ...]) -> tuple[int, ...]:
    """Return the limits of the hash for the running sums of weights: at each begins a bucket.

    A bucket is the number of sums up to `digest * total >> 32`, and so of limits up to the hash.
    """
    return tuple(-(-(running << 32) // sums[-1]) for running in sums)


def cbor(value: Any, run: Run) -> bytes:
    """Return the deterministic CBOR of a JSON value; whole doubles are integers."""
    if isinstance(value, str):
        run.spend_on_text(value)
        return _cbor_text(value)
    if isinstance(value, list):
        run.spend(2 * len(value))
        return _head(4, len(value)) + b"".join([cbor(item, run) for item in value])
    if isinstance(value, dict):
        run.spend(4 * len(value))
        members = sorted([(cbor(name, run), cbor(member, run)) for name, member in value.items()])
        return _head(5, len(members)) + b"".join([name + member for name, member in members])
    return _scalar(value)


def _scalar(value: float | None) -> bytes:
    if value is None:
        return b"\xf6"
    if isinstance(value, bool):
        return b"\xf5" if value else b"\xf4"
    # A whole number beyond 64 bits is a double, as in languages whose numbers are all doubles.
    is_whole = isinstance(value, int) or value.is_integer()
    if not is_whole or not -(2**63) <= value < 2**64:
        return _double(double(value))
    number = int(value)
    return _head(0, number) if number >= 0 else _head(1, -1 - number)


def _utf8(text: str, run: Run) -> bytes:
    run.spend_on_text(text)
    return plain(text)


def _head(major: int, number: int) -> bytes:
    """Return the first bytes of an item: its major type, and its number in the shortest form."""
    major <<= 5
    if number < 24:
        return bytes((major | number,))
    for code, size in ((24, 1), (25, 2), (26, 4), (27, 8)):
        if number < 1 << 8 * size:
            return bytes((major | code,)) + number.to_bytes(size)
    raise OverflowError("an integer beyond 64 bits")


def _double(number: float) -> bytes:
    """Return a double in the shortest form without loss."""
    if math.isnan(number):
        return b"\xf9\x7e\x00"
    for code, form in ((b"\xf9", ">e"), (b"\xfa", ">f")):
        try:
            packed = struct.pack(form, number)
        except OverflowError:
            continue
        if struct.unpack(form, packed)[0] == number:
            return code + packed
    return b"\xfb" + struct.pack(">d", number)


# The first bytes of strings in CBOR, by their length.
TEXT_HEADS = tuple(_head(3, length) for length in range(320))
