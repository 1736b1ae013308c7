"""Which bucket a value falls into: flagd's `fractional`, in the generations that are kept.

Both hash with MurmurHash3 (x86, 32 bit, seed 0) and scale the hash to the sum of the weights. They
differ in what is hashed: v2 takes UTF-8 of a text, v3 the deterministic CBOR of any value (RFC
8949, section 4.2.1), so that languages agree on texts beyond ASCII and on what is no text.
"""

import math
import struct
from collections.abc import Callable, Sequence
from typing import Any

import mmh3

from app.evaluation.run import Run
from app.evaluation.values import double

WEIGHTS_MAX = 2**31 - 1


def bucket(seed: bytes, total_weight: int) -> int:
    """Return a number from 0 to below the total weight, evenly spread over seeds."""
    # Of bytes alone: given a text with a lone surrogate, the library ends the process.
    return (mmh3.hash(seed, signed=False) * total_weight) >> 32


def seed_v2(value: Any, flag_key: str, run: Run) -> bytes | None:
    """Return what is hashed for a bucketing value, or for none (a list), in flagd up to 0.16."""
    if isinstance(value, list):
        targeting_key = _targeting_key(run)
        return None if targeting_key is None else _utf8(flag_key + targeting_key, run)
    return _utf8(value, run) if isinstance(value, str) else None


def seed_v3(value: Any, flag_key: str, run: Run) -> bytes | None:
    """Return what is hashed for a bucketing value, or for none (a list), in later ones."""
    if isinstance(value, list):
        targeting_key = _targeting_key(run)
        return None if targeting_key is None else cbor([flag_key, targeting_key], run)
    return None if value is None else cbor(value, run)


Seed = Callable[[Any, str, Run], bytes | None]
SEEDS: dict[str, Seed] = {"v2": seed_v2, "v3": seed_v3}


def _targeting_key(run: Run) -> str | None:
    key = run.context.get("targetingKey")
    return key if isinstance(key, str) and key else None


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


def cbor(value: Any, run: Run) -> bytes:
    """Return the deterministic CBOR of a JSON value; whole doubles are integers."""
    if isinstance(value, str):
        text = _utf8(value, run)
        return _head(3, len(text)) + text
    if isinstance(value, list):
        run.spend(2 * len(value))
        return _head(4, len(value)) + b"".join([cbor(each, run) for each in value])
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
    # Beyond 64 bits a whole number is a double, as it is wherever JSON's numbers are doubles.
    is_whole = isinstance(value, int) or value.is_integer()
    if not is_whole or not -(2**63) <= value < 2**64:
        return _double(double(value))
    number = int(value)
    return _head(0, number) if number >= 0 else _head(1, -1 - number)


def _utf8(text: str, run: Run) -> bytes:
    run.read(text)
    return text.encode(errors="surrogatepass")


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
