"""What flagd adds to every context: the key of the flag, and the time."""

from typing import Any

import pytest

from tests.unit.rules import NOW, flag, result, var


@pytest.mark.parametrize("own", [{}, {"$flagd": {"flagKey": "mine", "timestamp": 1, "x": 2}}])
def test_the_flags_key_and_the_time_are_added_and_nobody_elses_count(own: dict[str, Any]) -> None:
    added = {"flagKey": "flag", "timestamp": NOW}
    expected = {
        "$flagd.flagKey": "flag",
        "$flagd.timestamp": NOW,
        "$flagd.timestamp.x": None,
        "$flagd.x": None,
        "$flagd": added,
        "": {"$flagd": added},
    }

    assert {path: result(var(path), own) for path in expected} == expected
    assert {path: result(var({"cat": [path]}), own) for path in expected} == expected
    assert result({"missing": ["$flagd.timestamp", "$flagd.x"]}, own) == ["$flagd.x"]


@pytest.mark.parametrize(
    "rule",
    [
        {">": [var("$flagd.timestamp"), 1]},
        {"if": [False, var("$flagd")]},
        {"var": {"cat": ["$flagd", ".timestamp"]}},
        {"map": [[var("")], var("$flagd.timestamp")]},
        var(None),
        {"$ref": "later"},
    ],
)
def test_a_rule_that_may_look_at_the_clock_says_so(rule: Any) -> None:
    segments = {"later": {">": [var("$flagd.timestamp"), NOW]}}

    assert flag(rule, segments=segments).uses_time


@pytest.mark.parametrize(
    "rule",
    [
        None,
        {"==": [var("$flagd.flagKey"), "x"]},
        {"map": [var("list"), var("")]},
        {"missing": ["$flagd.timestamp"]},
        {"cat": ["$flagd.timestamp", var("flagd.timestamp")]},
    ],
)
def test_other_rules_do_not(rule: Any) -> None:
    assert not flag(rule).uses_time


def test_what_looks_at_the_clock_changes_by_itself() -> None:
    later = flag({"if": [{">": [var("$flagd.timestamp"), NOW]}, "a"]})

    assert later.evaluate({}, NOW).outcome.variant == "b"
    assert later.evaluate({}, NOW + 1).outcome.variant == "a"
