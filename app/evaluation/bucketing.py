"""Which bucket a value falls into: flagd's `fractional`, in the generations that are kept.

Both hash with MurmurHash3 (x86, 32 bit, seed 0) and scale the hash to the sum of the weights. They
differ in what is hashed: v2 takes UTF-8 of a text, v3 the deterministic CBOR of any value (RFC
8949, section 4.2.1), so that languages agree on texts beyond ASCII and on what is no text.
"""

import math
import struct
from collections.abc import Sequence
from typing import Any

import mmh3

WEIGHTS_MAX = 2**31 - 1


def bucket(seed: bytes, total_weight: int) -> int:
    """Return a number from 0 to below the total weight, evenly spread over seeds."""
    # Of bytes alone: given a text with a lone surrogate, the library ends the process.
    return (mmh3.hash(seed, signed=False) * total_weight) >> 32


def seed_v2(value: Any, flag_key: str, targeting_key: Any) -> bytes | None:
    """Return what is hashed for a bucketing value, or for none (a list), in flagd up to 0.16."""
    if isinstance(value, str):
        return value.encode(errors="surrogatepass")
    if isinstance(value, list) and isinstance(targeting_key, str) and targeting_key:
        return (flag_key + targeting_key).encode(errors="surrogatepass")
    return None


def seed_v3(value: Any, flag_key: str, targeting_key: Any) -> bytes | None:
    """Return what is hashed for a bucketing value, or for none (a list), in later ones."""
    if isinstance(value, list):
        if not isinstance(targeting_key, str) or not targeting_key:
            return None
        return b"\x82" + _text(flag_key) + _text(targeting_key)
    return None if value is None else cbor(value)


SEEDS = {"v2": seed_v2, "v3": seed_v3}


def cumulative(weights: Sequence[Any]) -> list[int] | None:
    """Return the running sums of weights, None when they are not such or too large together.

    Computed weights may be negative, which counts as 0, or whole numbers that are doubles.
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


def cbor(value: Any) -> bytes:  # noqa: PLR0911 - one for each type
    """Return the deterministic CBOR of a JSON value; whole doubles are integers."""
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, bool):
        return b"\xf5" if value else b"\xf4"
    if value is None:
        return b"\xf6"
    if isinstance(value, float) and not (value.is_integer() and -(2**63) <= value < 2**64):
        return _double(value)
    if isinstance(value, int | float):
        number = int(value)
        return _head(0, number) if number >= 0 else _head(1, -1 - number)
    if isinstance(value, list):
        return _head(4, len(value)) + b"".join(map(cbor, value))
    members = sorted((cbor(name), cbor(member)) for name, member in value.items())
    return _head(5, len(members)) + b"".join(name + member for name, member in members)


def _text(text: str) -> bytes:
    raw = text.encode(errors="surrogatepass")
    return _head(3, len(raw)) + raw


def _head(major: int, number: int) -> bytes:
    """Return an item's first bytes: its major type, and its number in as few bytes as hold it."""
    major <<= 5
    if number < 24:
        return bytes((major | number,))
    for code, size in ((24, 1), (25, 2), (26, 4), (27, 8)):
        if number < 1 << 8 * size:
            return bytes((major | code,)) + number.to_bytes(size)
    raise OverflowError("an integer beyond 64 bits")


def _double(number: float) -> bytes:
    """Return a double in the shortest form that loses nothing."""
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
