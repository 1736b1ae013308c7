"""The decoder refuses JSON that PostgreSQL, Python or a browser would change."""

import json
import math
from typing import Annotated, Any, Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from app.configuration.entries.models import NewConfiguration
from app.errors import Invalid, Malformed, TooLarge
from app.http import decoder
from app.http.decoder import (
    DEPTH_MAX,
    NODES_MAX,
    VALUE_BYTES_MAX,
    check_count,
    check_nodes,
    check_value_size,
    decode,
    parse,
)
from tests.examples import examples
from tests.unit.http.json_texts import DOCUMENTS, PIECES

CANARY = "canary7f3a"


def nested(depth: int, inside: str = "1") -> bytes:
    return ("[" * depth + inside + "]" * depth).encode()


@pytest.mark.parametrize(
    ("raw", "field", "rule"),
    [
        (b"", "body", "must be JSON"),
        (b" ", "body", "must be JSON"),
        (b"{", "body", "must be JSON"),
        (b"[1,]", "body", "must be JSON"),
        (b"{'a': 1}", "body", "must be JSON"),
        (b"1 2", "body", "must be JSON"),
        (b"01", "body", "must be JSON"),
        (b'"\x01"', "body", "must be JSON"),
        (b'"\\x"', "body", "must be JSON"),
        (b"// a\n1", "body", "must be JSON"),
        (b"\xa01", "body", "must be UTF-8"),
        (b"\xc2\xa01", "body", "must be JSON"),
        (b'\xef\xbb\xbf{"a": 1}', "body", "must be JSON"),
        (b'"\xff"', "body", "must be UTF-8"),
        (b'"\xc0\xaf"', "body", "must be UTF-8"),
        (b'"\xed\xa0\x80"', "body", "must be UTF-8"),
        (b'\xff\xfe"\x00a\x00"\x00', "body", "must be UTF-8"),
        (b'{"a": 1, "a": 1}', "body", "must not repeat a name"),
        (b'{"a": 1, "\\u0061": 2}', "body", "must not repeat a name"),
        (b'[{"b": {"": 1, "": 2}}]', "body", "must not repeat a name"),
        (b"NaN", "body", "NaN or Infinity"),
        (b"[Infinity]", "body", "NaN or Infinity"),
        (b'{"a": -Infinity}', "body", "NaN or Infinity"),
        (b"1e400", "body", "beyond the range of a double"),
        (b"-1E+400", "body", "beyond the range of a double"),
        (b"9" * 400 + b".0", "body", "beyond the range of a double"),
        (b"9007199254740993", "body", "integer beyond 2^53"),
        (b"-9007199254740993", "body", "integer beyond 2^53"),
        (b"1" + b"0" * 100_000, "body", "integer beyond 2^53"),
        (b'{"a": [-' + b"9" * 100_000 + b"]}", "body", "integer beyond 2^53"),
        (b'{"a": ["x", "\\ud800"]}', "body.a[1]", "lone surrogate"),
        (b'"\\udc00\\ud800"', "body", "lone surrogate"),
        (b'{"\\udfff": 1}', "body", "a name must not contain a lone surrogate"),
        (b'{"a": {"b": "x\\u0000y"}}', "body.a.b", "NUL"),
        (b'{"a": {"b\\u0000": 1}}', "body.a", "a name must not contain NUL"),
        (b'{"a": {"e\xcc\x81": 1}}', "body.a", "a name must be in Unicode's normal form C"),
        (b'{"\\u212b": 1}', "body", "a name must be in Unicode's normal form C"),
    ],
)
def test_invalid_json_is_refused_by_position_and_rule(raw: bytes, field: str, rule: str) -> None:
    with pytest.raises(Malformed) as caught:
        parse(raw)

    (violation,) = caught.value.violations
    assert violation.field == field
    assert rule in violation.rule
    assert len(caught.value.message) < 300


@pytest.mark.parametrize(
    "raw",
    [
        f'{{"{CANARY}": 1, "{CANARY}": 2}}',
        f'["{CANARY}", NaN]',
        f'["{CANARY}"',
        f'"{CANARY}\\q"',
        f'["{CANARY}\\u0000"]',
        f'["{CANARY}\\ud800"]',
    ],
)
def test_refusal_does_not_echo_the_body(raw: str) -> None:
    with pytest.raises(Malformed) as caught:
        parse(raw.encode())

    assert CANARY not in f"{caught.value} {caught.value.violations}"


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        (b"null", None),
        (b" \t\r\n0 ", 0),
        (b"-0", 0),
        (b"9007199254740992", 2**53),
        (b"-9007199254740992", -(2**53)),
        (b"1e300", 1e300),
        (b'"\\ud83d\\udea9"', "🚩"),
        (b'"e\xcc\x81"', "e\u0301"),
        (b'{"": {}}', {"": {}}),
        (b'{"\xc3\xa9": []}', {"é": []}),
        (b'"\xef\xbb\xbf"', "\ufeff"),
        (b'[{"a": 1}, {"a": 1}]', [{"a": 1}, {"a": 1}]),
    ],
)
def test_unambiguous_json_is_accepted(raw: bytes, value: object) -> None:
    parsed = parse(raw)

    assert parsed == value
    assert type(parsed) is type(value)


def test_minus_zero_stays_minus_zero() -> None:
    assert math.copysign(1, parse(b"-0.0")) == -1


# Depth and size


def test_depth_at_the_limit_is_accepted() -> None:
    parsed = parse(nested(DEPTH_MAX))

    assert json.loads(nested(DEPTH_MAX)) == parsed


@pytest.mark.parametrize("depth", [33, 900, 1_100, 9_000])
@pytest.mark.parametrize("shape", ["[", '{"a":'])
def test_too_deep_json_is_refused(depth: int, shape: str) -> None:
    """Far below Python's own limit, at it and beyond: never a RecursionError."""
    closing = "]" if shape == "[" else "}"
    raw = (shape * depth + "1" + closing * depth).encode()

    with pytest.raises(Malformed, match="must not nest deeper than 32"):
        parse(raw)


def test_unclosed_deep_json_is_refused() -> None:
    with pytest.raises(Malformed):
        parse(b"[" * 100_000)


def test_number_of_values_has_a_limit() -> None:
    most = parse(json.dumps([0] * (NODES_MAX - 1)).encode())

    assert len(most) == NODES_MAX - 1
    with pytest.raises(Malformed, match=f"must not have more than {NODES_MAX} values"):
        parse(json.dumps([0] * NODES_MAX).encode())
    with pytest.raises(Malformed, match="must not have more than 3 values"):
        parse(b'{"a": {"b": {"c": 1}}}', nodes_max=3)


@given(DOCUMENTS, st.integers(2, 9), st.sampled_from([None, 1]))
def test_values_are_counted_before_they_are_built(
    document: Any, slice_bytes: int, indent: int | None
) -> None:
    raw = json.dumps(document, indent=indent).encode()
    count = count_nodes(document)

    with pytest.MonkeyPatch.context() as patch:
        # A string or an empty array may begin in one slice and end in another.
        patch.setattr(decoder, "SLICE_BYTES", slice_bytes)
        check_count(raw, count)
        # A shorter text is let through, as it cannot hold more values than allowed.
        if len(raw) > 2 * (count - 1):
            with pytest.raises(Malformed, match=f"must not have more than {count - 1} values"):
                check_count(raw, count - 1)


def count_nodes(document: Any) -> int:
    if isinstance(document, dict):
        return 1 + sum(map(count_nodes, document.values()))
    return 1 + sum(map(count_nodes, document)) if isinstance(document, list) else 1


def test_too_many_values_are_refused_unread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json, "loads", lambda *_, **__: pytest.fail("it was built"))

    for value in (b"0", b'""', b"[]", b'{"":0}'):
        with pytest.raises(Malformed, match=f"must not have more than {NODES_MAX} values"):
            parse(b"[" + (value + b",") * NODES_MAX + value + b"]")


def test_commas_in_texts_are_no_values() -> None:
    text = ',[{"\\' * 20_000

    assert parse(json.dumps({"a": text, "b": [text]}).encode()) == {"a": text, "b": [text]}


def test_name_beyond_its_size_is_refused() -> None:
    with pytest.raises(Malformed, match="a name must not be longer than 10000 characters"):
        parse(json.dumps({"é" * 10_001: 1}).encode())


def test_path_in_an_error_has_a_limit() -> None:
    raw = json.dumps({"k" * 5_000: {"l" * 5_000: ["\0"]}}).encode()

    with pytest.raises(Malformed) as caught:
        parse(raw)

    assert len(caught.value.message) < 300


def test_error_path_starts_with_the_given_root() -> None:
    with pytest.raises(Malformed) as caught:
        check_nodes({"a": ["\0"]}, root="file")

    assert caught.value.violations[0].field == "file.a[0]"


def test_value_has_a_size_in_bytes() -> None:
    check_value_size("x" * (VALUE_BYTES_MAX - 2), "value")

    with pytest.raises(TooLarge) as caught:
        check_value_size("é" * (VALUE_BYTES_MAX // 2), "value")

    assert caught.value.violations[0].field == "value"
    assert "é" not in caught.value.message


# Shapes


class Inner(msgspec.Struct, forbid_unknown_fields=True):
    mode: Literal["on", "off"] = "on"
    level: Literal[1, 2] = 1


class One(msgspec.Struct, tag="one"):
    pass


class Two(msgspec.Struct, tag="two"):
    pass


class Shape(msgspec.Struct, forbid_unknown_fields=True):
    name: Annotated[str, msgspec.Meta(max_length=5, pattern="^[a-z]*$")]
    count: Annotated[int, msgspec.Meta(ge=0)] = 0
    inner: Inner | None = None
    many: list[Inner] = []
    by_name: dict[str, int] = {}
    either: One | Two | None = None


@pytest.mark.parametrize(
    ("raw", "field", "rule"),
    [
        (b"[]", "body", "expected `object`"),
        (b"null", "body", "expected `object`"),
        (b"{}", "body", "missing required field `name`"),
        (b'{"name": 70707}', "name", "expected `str`, got `int`"),
        (b'{"name": "canary7f3a"}', "name", "length <= 5"),
        (b'{"name": "70707"}', "name", "matching regex"),
        (b'{"name": "a", "count": "70707"}', "count", "expected `int`, got `str`"),
        (b'{"name": "a", "count": 70707.5}', "count", "expected `int`, got `float`"),
        (b'{"name": "a", "count": -70707}', "count", "expected `int` >= 0"),
        (b'{"name": "a", "other": "70707"}', "body", "unknown field `other`"),
        (b'{"name": "a", "inner": {"mode": "70707"}}', "inner.mode", "one of the allowed values"),
        (b'{"name": "a", "inner": {"mode": 70707}}', "inner.mode", "expected `str`"),
        (b'{"name": "a", "inner": {"level": 70707}}', "inner.level", "one of the allowed values"),
        (b'{"name": "a", "many": [{}, {"x": 70707}]}', "many[1]", "unknown field `x`"),
        (b'{"name": "a", "by_name": {"x": "70707"}}', "by_name[...]", "expected `int`"),
        (b'{"name": "a", "either": {"type": "70707"}}', "either.type", "one of the allowed values"),
        (b'{"name": "a", "either": {"type": null}}', "either.type", "expected `str`, got `null`"),
    ],
)
def test_wrong_shape_is_refused_by_field_and_rule(raw: bytes, field: str, rule: str) -> None:
    with pytest.raises(Invalid) as caught:
        decode(raw, Shape)

    (violation,) = caught.value.violations
    assert violation.field == field
    assert rule in violation.rule
    assert "70707" not in caught.value.message
    assert CANARY not in caught.value.message


def test_valid_json_fills_the_struct() -> None:
    shape = decode(b'{"name": "a", "many": [{"mode": "off"}], "either": {"type": "two"}}', Shape)

    assert shape == Shape(name="a", many=[Inner(mode="off")], either=Two())


def test_invalid_json_is_reported_before_wrong_shape() -> None:
    with pytest.raises(Malformed):
        decode(b'{"name": 1, "name": 2}', Shape)


def test_invalid_kind_is_not_echoed() -> None:
    with pytest.raises(Invalid) as caught:
        decode(f'{{"value": 1, "kind": "{CANARY}"}}'.encode(), NewConfiguration)

    assert caught.value.message == "kind: must be one of the allowed values"


# Properties


@given(document=DOCUMENTS, escaped=st.booleans(), indent=st.none() | st.just(2))
@hypothesis_settings(max_examples=examples(150), deadline=None)
def test_every_strict_document_comes_back(
    document: object, *, escaped: bool, indent: int | None
) -> None:
    raw = json.dumps(document, ensure_ascii=escaped, indent=indent).encode()

    parsed = parse(raw)

    assert parsed == document
    assert json.dumps(parsed) == json.dumps(document)


@given(raw=st.binary(max_size=60) | st.lists(st.sampled_from(PIECES), max_size=12).map(b"".join))
@hypothesis_settings(max_examples=examples(500), deadline=None)
def test_any_bytes_round_trip_or_are_malformed(raw: bytes) -> None:
    try:
        parsed = parse(raw)
    except Malformed:
        return
    assert parse(msgspec.json.encode(parsed)) == parsed


@given(document=DOCUMENTS)
@hypothesis_settings(max_examples=examples(100), deadline=None)
def test_any_document_decodes_or_raises_our_error(document: Any) -> None:
    raw = json.dumps(document).encode()

    try:
        shape: object = decode(raw, Shape)
    except Invalid:
        return
    assert isinstance(shape, Shape)
