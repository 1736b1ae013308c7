"""Values follow JavaScript: truthiness, numbers, strings, equality and order."""

import math
from typing import Any

import pytest

from app.evaluation.run import Run
from app.evaluation.values import (
    is_truthy,
    loosely_equal,
    number_text,
    parse_float,
    strictly_equal,
    to_number,
)
from tests.unit.evaluation.rules import result, same, var

NAN, INFINITY = math.nan, math.inf


def run() -> Run:
    return Run({}, 0)


@pytest.mark.parametrize("value", [False, None, 0, 0.0, -0.0, NAN, "", []])
def test_empty_values_are_falsy(value: Any) -> None:
    assert not is_truthy(value)


@pytest.mark.parametrize("value", [True, 1, -0.5, INFINITY, "0", "false", " ", {}, [0], [[]]])
def test_other_values_are_truthy(value: Any) -> None:
    assert is_truthy(value)


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0"),
        (-0.0, "0"),
        (1.0, "1"),
        (-1.5, "-1.5"),
        (0.1, "0.1"),
        (1e-6, "0.000001"),
        (1.5e-6, "0.0000015"),
        (1e-7, "1e-7"),
        (-1.25e-7, "-1.25e-7"),
        (5e-324, "5e-324"),
        (1e16, "10000000000000000"),
        (123456789012345680000.0, "123456789012345680000"),
        (1e20, "100000000000000000000"),
        (1e21, "1e+21"),
        (-1.2e21, "-1.2e+21"),
        (1.7976931348623157e308, "1.7976931348623157e+308"),
        (2**53, "9007199254740992"),
        (2**53 + 1, "9007199254740992"),
        (10**21, "1e+21"),
        (10**400, "Infinity"),
        (-INFINITY, "-Infinity"),
        (NAN, "NaN"),
    ],
)
def test_number_text_equals_javascript(number: float, text: str) -> None:
    assert number_text(number) == text


@pytest.mark.parametrize(
    ("value", "whole", "beginning"),
    [
        ("", 0, NAN),
        (" 12 ", 12, 12),
        ("\ufeff12\u00a0", 12, 12),
        ("\u008512", NAN, NAN),
        ("3.14abc", NAN, 3.14),
        ("1e3", 1000, 1000),
        ("1e", NAN, 1),
        ("-.5", -0.5, -0.5),
        ("5.", 5, 5),
        (".", NAN, NAN),
        ("1_000", NAN, 1),
        ("0x1F", 31, 0),
        ("0b11", 3, 0),
        ("-0x1F", NAN, -0.0),
        ("0x\uff11", NAN, 0),
        ("1e400", INFINITY, INFINITY),
        ("Infinity", INFINITY, INFINITY),
        ("-Infinitys", NAN, -INFINITY),
        ("inf", NAN, NAN),
        ("nan", NAN, NAN),
        ("\u0661", NAN, NAN),
        (True, 1, NAN),
        (False, 0, NAN),
        (None, 0, NAN),
        ([], 0, NAN),
        ([7], 7, 7),
        ([1, 2], NAN, 1),
        ([[["4"]]], 4, 4),
        ({}, NAN, NAN),
        (2**53 + 1, 2.0**53, 2.0**53),
        (10**400, INFINITY, INFINITY),
    ],
)
def test_number_parsing_equals_javascript(value: Any, whole: float, beginning: float) -> None:
    assert same(to_number(value, run()), float(whole))
    assert same(parse_float(value, run()), float(beginning))


@pytest.mark.parametrize(
    ("left", "right", "loosely", "strictly"),
    [
        (1, 1.0, True, True),
        (1, "1.0", True, False),
        (1, True, True, False),
        (0, False, True, False),
        (0, "", True, False),
        (0, None, False, False),
        (False, None, False, False),
        ("", None, False, False),
        (None, None, True, True),
        ("1", "1.0", False, False),
        ("a", "a", True, True),
        (True, "true", False, False),
        (True, "1", True, False),
        (NAN, NAN, False, False),
        ("abc", NAN, False, False),
        ([], "", True, False),
        ([1, 2], "1,2", True, False),
        ([None, True], ",true", True, False),
        ([1], 1, True, False),
        ([], [], False, False),
        ({}, {}, False, False),
        ({}, "[object Object]", True, False),
        (2**53, 2**53 + 1, True, True),
    ],
)
def test_equality_equals_javascript(
    left: Any, right: Any, *, loosely: bool, strictly: bool
) -> None:
    for first, second in ((left, right), (right, left)):
        assert loosely_equal(first, second, run()) is loosely
        assert strictly_equal(first, second, run()) is strictly
        for name, expected in (("==", loosely), ("===", strictly)):
            # Test variables and literals, as literals use a fast path.
            values = {"x": first, "y": second}
            assert result({name: [var("x"), var("y")]}, values) is expected
            assert result({f"!{name[1:]}": [var("x"), var("y")]}, values) is not expected
            if not isinstance(second, dict | list):
                assert result({name: [var("x"), second]}, values) is expected
                assert result({name: [second, var("x")]}, values) is expected


def test_list_and_object_equal_themselves() -> None:
    data = {"list": [1], "object": {"a": 1, "b": 2}}

    assert result({"==": [var("list"), var("list")]}, data) is True
    assert result({"===": [var("object"), var("object")]}, data) is True


@pytest.mark.parametrize(
    ("left", "right", "is_less"),
    [
        ("10", "9", True),
        ("10", 9, False),
        (None, 18, True),
        (None, 0, False),
        ("a", 1, False),
        (True, 2, True),
        ([2], [10], False),
        ([2], 10, True),
        ({}, 1, False),
        ("\uffff", "\U00010000", False),
        ("é", "z", False),
        (2**53, 2**53 + 1, False),
        (10**400, 1, False),
    ],
)
def test_order_equals_javascript(left: Any, right: Any, *, is_less: bool) -> None:
    values = {"x": left, "y": right}

    assert result({"<": [var("x"), var("y")]}, values) is is_less
    assert result({">": [var("y"), var("x")]}, values) is is_less
    if not isinstance(right, dict | list):
        assert result({"<": [var("x"), right]}, values) is is_less
