"""flagd's `fractional`: hashed bytes, weights and malformed buckets."""

from bisect import bisect_right
from collections import Counter
from itertools import accumulate
from typing import Any

import cbor2
import mmh3
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.evaluation.bucketing import WEIGHTS_MAX, bucket, cbor, limits_of
from app.evaluation.run import Run
from tests.unit.evaluation.rules import result, var

SPLIT = [["a", 25], ["b", 25], ["c", 50]]
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=8,
)


def split(value: Any, *buckets: Any, context: Any = None, fractional: str = "v3") -> Any:
    """Return the bucket of a value, which must be the same for literal and computed buckets."""
    rule = {"fractional": [value, *(buckets or SPLIT)]}
    computed = {"fractional": [value, *({"if": [True, bucket]} for bucket in buckets or SPLIT)]}
    outcome = result(rule, context, fractional=fractional)
    assert result(computed, context, fractional=fractional) == outcome
    return outcome


@pytest.mark.parametrize(
    ("text", "hashed"),
    [
        ("ejOoVL", 0),
        ("bY9fO-", 1),
        ("SI7p-", 2**31 - 1),
        ("6LvT0", 2**31),
        ("ceQdGm", 2**32 - 1),
    ],
)
def test_bucket_is_hash_scaled_to_weights(text: str, hashed: int) -> None:
    for total in (1, 2, 3, 100, WEIGHTS_MAX):
        assert bucket(text.encode(), total) == hashed * total // 2**32
    expected = "a" if hashed < 2**31 else "b"
    assert split(text, ["a", 1], ["b", 1], fractional="v2") == expected


@given(weights=st.lists(st.integers(0, WEIGHTS_MAX // 5), min_size=1, max_size=5).filter(any))
def test_limits_of_hash_give_the_same_buckets(weights: list[int]) -> None:
    sums = tuple(accumulate(weights))
    limits = limits_of(sums)

    near = (limit + offset for limit in (0, *limits) for offset in (-1, 0, 1))
    for hashed in near:
        if 0 <= hashed < 2**32:
            scaled = (hashed * sums[-1]) >> 32
            assert bisect_right(limits, hashed) == bisect_right(sums, scaled)


@given(value=JSON)
def test_v3_hashes_deterministic_cbor(value: Any) -> None:
    assert cbor(value, Run({}, 0)) == cbor2.dumps(_with_integers(value), canonical=True)


def _with_integers(value: Any) -> Any:
    """Flagd's rule: a double that is whole, and within 64 bits, is an integer."""
    if isinstance(value, float) and value.is_integer() and -(2**63) <= value < 2**64:
        return int(value)
    if isinstance(value, list):
        return [_with_integers(member) for member in value]
    if isinstance(value, dict):
        return {name: _with_integers(member) for name, member in value.items()}
    return value


def test_integer_beyond_64_bits_is_hashed_as_double() -> None:
    assert cbor(2**64, Run({}, 0)) == cbor2.dumps(2.0**64, canonical=True)
    assert cbor(-(10**400), Run({}, 0)) == cbor2.dumps(float("-inf"), canonical=True)


@pytest.mark.slow
def test_many_users_are_split_by_weights() -> None:
    for fractional in ("v2", "v3"):
        counts = Counter(split(f"user-{n}", fractional=fractional) for n in range(4000))

        assert [round(counts[name] / 1000) for name in "abc"] == [1, 1, 2]


def test_generations_differ_in_buckets() -> None:
    """This is why an environment has a fixed generation."""
    users = [f"user-{n}" for n in range(100)]

    assert [split(u) for u in users] != [split(u, fractional="v2") for u in users]


def test_v2_hashes_strings_only() -> None:
    context = {"targetingKey": "user"}

    for value in (1, 1.5, True, None, {"a": 1, "b": 2}):
        assert split(value, context=context, fractional="v2") is None
    assert split("", fractional="v2") is not None


def test_v3_hashes_any_value_but_null() -> None:
    for value in (0, 1.5, False, "", {"a": 1, "b": 2}):
        assert split(value) is not None
    assert split(None, context={"targetingKey": "user"}) is None
    assert split(var("absent"), context={"targetingKey": "user"}) is None
    numbers = [split(var("x"), context={"x": number}) for number in (7, 7.0)]
    assert numbers[0] == numbers[1]


def test_string_beyond_ascii_is_hashed_as_utf_8() -> None:
    quarters = [[name, 25] for name in "abcd"]

    for user in ("é", "日本", "😀", "\u0000", "x" * 300):
        for fractional, raw in (("v2", user.encode()), ("v3", cbor2.dumps(user))):
            quarter = mmh3.hash(raw, signed=False) >> 30

            assert split(user, *quarters, fractional=fractional) == quarters[quarter][0]


def test_lone_surrogate_does_not_crash() -> None:
    """The hashing library crashes the process when it gets one in a str."""
    for fractional in ("v2", "v3"):
        assert split("\ud800", fractional=fractional) in {"a", "b", "c"}


@pytest.mark.parametrize("fractional", ["v2", "v3"])
def test_fractional_without_value_uses_targeting_key(fractional: str) -> None:
    short = {"fractional": SPLIT}
    users = [{"targetingKey": f"user-{n}"} for n in range(20)]

    variants = [result(short, user, fractional=fractional) for user in users]

    if fractional == "v2":
        joined = {"cat": [var("$flagd.flagKey"), var("targetingKey")]}
        assert variants == [split(joined, context=user, fractional="v2") for user in users]
    assert set(variants) == {"a", "b", "c"}
    for nobody in ({}, {"targetingKey": ""}, {"targetingKey": 1}, {"targetingKey": None}):
        assert result(short, nobody, fractional=fractional) is None
    listed = {"fractional": [var("first"), *SPLIT[1:]]}
    computed = [result(listed, {**u, "first": SPLIT[0]}, fractional=fractional) for u in users]
    assert computed == variants


@pytest.mark.parametrize(
    ("buckets", "expected"),
    [
        ([["a"]], "a"),
        ([["a"], ["b", 0]], "a"),
        ([["a", -5], ["b", 1]], "b"),
        ([["a", -5], ["b", -1]], None),
        ([["a", 0]], None),
        ([["a", {"-": [100, 50]}], ["b", 0.0]], "a"),
        ([["a", {"-": [50, 100]}], ["b", {"+": [1]}]], "b"),
        ([[{"if": [True, "x"]}]], "x"),
        ([[{"fractional": ["q", ["nested"]]}]], "nested"),
        ([[None, 1]], None),
        ([[True, 1]], True),
        ([["a", WEIGHTS_MAX]], "a"),
        ([["a", WEIGHTS_MAX], ["b", 1]], None),
        ([["a", 1e300]], None),
        ([["a", 1.5]], None),
        ([["a", "1"]], None),
        ([["a", True]], None),
        ([["a", None]], None),
        ([["a", {"/": [1, 0]}]], None),
        ([["a", 1, 2]], None),
        ([[]], None),
        (["a"], None),
        ([["a"], None], None),
        ([["a"], {"a": 1, "b": 1}], None),
    ],
)
def test_weights_and_buckets(buckets: list[Any], expected: Any) -> None:
    for fractional in ("v2", "v3"):
        assert split("user", *buckets, fractional=fractional) == expected


def test_fractional_without_buckets_gives_null() -> None:
    assert result({"fractional": []}) is None
    assert result({"fractional": ["user"]}) is None
    assert result({"fractional": var("first")}, {"first": ["a", 1], "targetingKey": "u"}) == "a"
