"""JsonLogic: the reference cases, and the results of each operator."""

import json
import math
from typing import Any

import pytest

from app.evaluation.run import RuleError
from tests.paths import SHARED_DATA
from tests.unit.evaluation.rules import result, same, var

NAN, INFINITY = math.nan, math.inf
CASES = SHARED_DATA / "jsonlogic_tests.json"


@pytest.mark.skipif(not CASES.exists(), reason="json-logic's classic cases are not here")
def test_json_logic_reference_cases_pass() -> None:
    cases = [case for case in json.loads(CASES.read_text()) if isinstance(case, list)]

    failures = [case for case in cases if not same(result(case[0], case[1]), case[2])]

    assert len(cases) == 275
    assert failures == []


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ({"<": [1, 2, 3]}, True),
        ({"<": [1, 3, 2]}, False),
        ({"<=": [1, 1, None]}, False),
        ({"<=": [-1, -1, None]}, True),
        ({">": [3, 2, 1]}, True),
        ({"<=": [1]}, False),
        ({">=": []}, False),
        ({"==": [None]}, True),
        ({"===": [None]}, False),
        ({"+": []}, 0.0),
        ({"+": "3.14abc"}, 3.14),
        ({"+": [True, 1]}, NAN),
        ({"+": [None, 1]}, NAN),
        ({"*": "x"}, "x"),
        ({"*": ["2", "3x"]}, 6.0),
        ({"-": ["5"]}, -5.0),
        ({"-": [True, None]}, 1.0),
        ({"-": [""]}, 0.0),
        ({"-": []}, NAN),
        ({"/": [1, 0]}, INFINITY),
        ({"/": [-1, 0]}, -INFINITY),
        ({"/": [1, {"-": [0]}]}, -INFINITY),
        ({"/": [0, 0]}, NAN),
        ({"/": ["x", 0]}, NAN),
        ({"/": [1]}, NAN),
        ({"%": [-7, 3]}, -1.0),
        ({"%": [7, -3]}, 1.0),
        ({"%": [5.5, 2]}, 1.5),
        ({"%": [1, 0]}, NAN),
        ({"%": [{"/": [1, 0]}, 2]}, NAN),
        ({"max": []}, -INFINITY),
        ({"min": []}, INFINITY),
        ({"max": [True, "0.5"]}, 1.0),
        ({"min": [None, 1]}, 0.0),
        ({"max": [1, "x"]}, NAN),
        ({"+": [0.1, 0.2]}, 0.30000000000000004),
        ({"*": [1e200, 1e200]}, INFINITY),
    ],
)
def test_arithmetic_never_fails(rule: Any, expected: Any) -> None:
    assert same(result(rule), expected)


def test_product_without_operands_is_an_error() -> None:
    with pytest.raises(RuleError):
        result({"*": []})


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ({"cat": [None, True, 1.0, 1e21, "x"]}, "true11e+21x"),
        ({"cat": [[1, [None, "a"]], {"a": 1, "b": 2}]}, "1,,a[object Object]"),
        ({"cat": var("missing")}, ""),
        ({"cat": []}, ""),
        ({"substr": ["jsonlogic", 4]}, "logic"),
        ({"substr": ["jsonlogic", -5]}, "logic"),
        ({"substr": ["jsonlogic", -99, 4]}, "json"),
        ({"substr": ["jsonlogic", 1, -5]}, "son"),
        ({"substr": ["jsonlogic", 1, -2.5]}, "sonlo"),
        ({"substr": ["jsonlogic", 4, -99]}, ""),
        ({"substr": ["jsonlogic", 99]}, ""),
        ({"substr": ["jsonlogic", "4", "2.9"]}, "lo"),
        ({"substr": ["jsonlogic", 4, None]}, ""),
        ({"substr": ["jsonlogic", None, {"/": [1, 0]}]}, "jsonlogic"),
        ({"substr": [12345, 1, 2]}, "23"),
        ({"in": ["a", ""]}, False),
        ({"in": ["", ""]}, False),
        ({"in": ["", "a"]}, True),
        ({"in": [1, "a1"]}, True),
        ({"in": [1, [True, "1"]]}, False),
        ({"in": [True, [1]]}, False),
        ({"in": [1, [1.0]]}, True),
        ({"in": [None, [None]]}, True),
        ({"in": [{"/": [0, 0]}, [{"/": [0, 0]}]]}, False),
        ({"in": ["a", None]}, False),
        ({"in": ["a", {"a": 1, "b": 2}]}, False),
        ({"in": ["a"]}, False),
    ],
)
def test_string_operators_equal_javascript(rule: Any, expected: Any) -> None:
    assert same(result(rule), expected)


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ({"in": [var("x"), ["a", "b"]]}, [True, False, False, False]),
        ({"in": ["a", var("x")]}, [True, True, False, True]),
        ({"in": ["", var("x")]}, [True, True, False, False]),
        ({"ends_with": [var("x"), "a"]}, [True, True, False, None]),
    ],
)
def test_fast_paths_equal_general_paths(rule: Any, expected: Any) -> None:
    """An attribute uses the fast path; the same value computed does not."""
    contexts = [{"x": "a"}, {"x": "c" * 100 + "a"}, {"x": ""}, {"x": ["a"]}]
    ((name, arguments),) = rule.items()
    slow = {name: [{"if": [True, argument]} for argument in arguments]}

    assert [result(rule, context) for context in contexts] == expected
    assert [result(slow, context) for context in contexts] == [
        result(rule, context) for context in contexts
    ]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("a.b", 1),
        ("list.1", "y"),
        ("list.length", 2),
        ("list.2", None),
        ("list.01", None),
        ("list.-1", None),
        ("text.0", "t"),
        ("text.length", 4),
        ("text.length.0", None),
        ("null.x", None),
        ("a.", None),
        ("a..b", None),
        ("x.y", None),
        (7, "seven"),
        (1.5, "deep"),
        (True, "yes"),
        ({"cat": ["a", ".b"]}, 1),
    ],
)
def test_var_follows_names_and_positions(path: Any, expected: Any) -> None:
    data = {
        "a": {"b": 1},
        "list": ["x", "y"],
        "text": "text",
        "null": None,
        "x.y": "dotted",
        "7": "seven",
        "1": {"5": "deep"},
        "true": "yes",
    }

    assert result(var(path), data) == expected
    assert result(var({"if": [True, path]}), data) == expected
    assert result(var(path, "none"), data) == ("none" if expected is None else expected)


def test_var_default_applies_to_absent_value() -> None:
    data = {"null": None, "empty": "", "deep": {"null": None}}

    assert result(var("null", 1), data) is None
    assert result(var("empty", 1), data) == ""
    assert result(var("deep.null", 1), data) is None
    assert result(var("deep.null.x", 1), data) == 1
    assert result(var("absent", var("empty")), data) == ""


def test_missing_includes_null_and_empty() -> None:
    data = {"null": None, "empty": "", "zero": 0, "list": ["zero", "x"]}

    assert result({"missing": ["null", "empty", "zero", "a.b"]}, data) == ["null", "empty", "a.b"]
    assert result({"missing": var("list")}, data) == ["x"]
    assert result({"missing_some": [1, ["zero", "x"]]}, data) == []
    assert result({"missing_some": ["2", ["zero", "x"]]}, data) == ["x"]
    assert result({"missing_some": [1]}, data) == []


@pytest.mark.parametrize("empty", [[], None, "text", 1, {}])
def test_all_and_none_of_empty_list(empty: Any) -> None:
    data = {"x": empty, "y": 1}

    assert result({"all": [var("x"), True]}, data) is False
    assert result({"none": [var("x"), True]}, data) is True
    assert result({"some": [var("x"), True]}, data) is False
    assert result({"map": [var("x"), 1]}, data) == []
    assert result({"filter": [var("x"), True]}, data) == []
    assert result({"reduce": [var("x"), 1, var("y")]}, data) == 1


def test_loop_body_reads_element_only() -> None:
    data = {"list": [{"a": 1}, {"b": 2}], "b": 3, "current": 4}

    assert result({"map": [var("list"), var("b")]}, data) == [None, 2]
    assert result({"map": [var("list"), var("")]}, data) == data["list"]
    assert result({"map": [var("list"), var("$flagd.flagKey")]}, data) == [None, None]
    assert result({"map": [{"map": [[1, 2], {"+": [var(""), 1]}]}, var("")]}, data) == [2, 3]
    body = [var("current.a"), var("accumulator"), var("b"), var("list")]
    assert result({"reduce": [var("list"), body, 0]}, data) == [
        *(None, [1, 0, None, None], None, None)
    ]


def test_merge_flattens_one_level() -> None:
    assert result({"merge": [1, [2, [3]], None, []]}) == [1, 2, [3], None]
    assert result({"merge": []}) == []


def test_logic_returns_operands_and_is_lazy() -> None:
    fails: dict[str, Any] = {"*": []}

    assert result({"and": [1, "", fails]}) == ""
    assert result({"and": [1, "x"]}) == "x"
    assert result({"or": [0, "x", fails]}) == "x"
    assert result({"or": [0, []]}) == []
    assert result({"and": []}) is result({"or": []}) is None
    assert result({"if": [[], fails, "0", "yes", fails]}) == "yes"
    assert result({"if": [0, 1]}) is None
    assert result({"if": [0]}) == 0
    assert result({"if": []}) is None
    assert result({"?:": [False, 1, 2]}) == 2
    assert result({"!": []}) is True
    assert result({"!": [[]]}) is True
    assert result({"!!": "0"}) is True


def test_object_with_one_member_is_a_rule() -> None:
    assert result({"a": 1, "b": {"var": "x"}}) == {"a": 1, "b": {"var": "x"}}
    assert result({}) == {}
    assert result([{"+": [1, 1]}, "x", [{"var": "y"}]], {"y": 3}) == [2.0, "x", [3]]


@pytest.mark.parametrize("rule", [{"log": "x"}, {"power": [1, 2]}, {"if": [0, {"x": 1}, 2]}])
def test_unknown_operator_unreached_is_refused(rule: Any) -> None:
    with pytest.raises(RuleError, match="is not a known operator"):
        result(rule)
