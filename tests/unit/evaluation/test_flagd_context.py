"""The properties that flagd adds to every context: the key of the flag, and the time."""

from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from app.evaluation.run import Run
from app.evaluation.transitions import Transitions
from tests.unit.evaluation.rules import NOW, flag, result, var


@pytest.mark.parametrize(
    "client_properties", [{}, {"$flagd": {"flagKey": "mine", "timestamp": 1, "x": 2}}]
)
def test_flagd_properties_override_client_context(client_properties: dict[str, Any]) -> None:
    added = {"flagKey": "flag", "timestamp": NOW}
    expected = {
        "$flagd.flagKey": "flag",
        "$flagd.timestamp": NOW,
        "$flagd.timestamp.x": None,
        "$flagd.x": None,
        "$flagd": added,
        "": {"$flagd": added},
    }

    assert {path: result(var(path), client_properties) for path in expected} == expected
    assert {path: result(var({"cat": [path]}), client_properties) for path in expected} == expected
    assert result({"missing": ["$flagd.timestamp", "$flagd.x"]}, client_properties) == ["$flagd.x"]


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
def test_rule_that_reads_clock_uses_time(rule: Any) -> None:
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
def test_rule_without_clock_does_not_use_time(rule: Any) -> None:
    assert not flag(rule).uses_time


CLOCK = var("$flagd.timestamp")


@pytest.mark.parametrize(
    ("condition", "transitions"),
    [
        ({">": [CLOCK, NOW]}, {NOW + 1}),
        ({">=": [CLOCK, NOW]}, {NOW}),
        ({"<": [CLOCK, NOW]}, {NOW}),
        ({"<=": [CLOCK, NOW]}, {NOW + 1}),
        ({"<": [NOW, CLOCK]}, {NOW + 1}),
        ({"<=": [NOW, CLOCK, NOW + 60]}, {NOW, NOW + 61}),
        ({"==": [CLOCK, NOW]}, {NOW, NOW + 1}),
        ({"!==": [CLOCK, NOW]}, {NOW, NOW + 1}),
        ({">": [CLOCK, NOW + 0.5]}, {NOW + 1}),
        ({">": [CLOCK, str(NOW)]}, {NOW + 1}),
        ({">": [CLOCK, "soon"]}, set()),
        ({">": [CLOCK, 1e300]}, set()),
        ({"===": [CLOCK, str(NOW)]}, set()),
        ({"!": [{"$ref": "later"}]}, {NOW + 1}),
        ({"and": [{">": [CLOCK, NOW]}, {"<": [CLOCK, NOW + 9]}]}, {NOW + 1, NOW + 9}),
        ({">": [{"-": [CLOCK, 3600]}, NOW]}, {NOW + 3601}),
        ({">": [{"-": [{"*": [CLOCK, 1000]}, 5]}, NOW * 1000]}, {NOW + 1}),
        ({">=": [{"+": [CLOCK, 3600]}, NOW]}, {NOW - 3600}),
        ({">=": [{"/": [CLOCK, 86_400]}, 20_000]}, {20_000 * 86_400}),
        ({">": [{"*": [{"-": [0, CLOCK]}, 2]}, -2 * NOW]}, {NOW}),
        ({"and": [{"==": [var("plan"), "pro"]}, {">": [CLOCK, NOW]}]}, {NOW + 1}),
    ],
)
def test_clock_compared_with_numbers_has_known_transitions(
    condition: Any, transitions: set[int]
) -> None:
    segments = {"later": {">": [CLOCK, NOW]}}
    compiled_flag = flag({"if": [condition, "a"]}, segments=segments)

    assert (set(compiled_flag.transitions), compiled_flag.transitions_are_known) == (
        transitions,
        True,
    )
    for transition in transitions:
        bodies = [
            compiled_flag.evaluate({"plan": "pro"}, now).body
            for now in (transition - 1, transition)
        ]
        assert bodies[0] != bodies[1]


@pytest.mark.parametrize(
    "condition",
    [
        CLOCK,
        var("$flagd"),
        var(""),
        var(var("path")),
        {">": [CLOCK, var("until")]},
        {">": [{"%": [CLOCK, 86_400]}, 3600]},
        {">": [{"/": [NOW, CLOCK]}, 1]},
        {">": [{"max": [CLOCK, NOW]}, NOW]},
        {">": [{"+": [CLOCK, 1e18]}, 1e18]},
        {">": [{"*": [CLOCK, 0]}, 1]},
        {"<": [{"-": [CLOCK, var("$flagd.timestamp")]}, 1]},
        {"in": [CLOCK, [NOW]]},
        {"fractional": [["a", {"-": [CLOCK, NOW]}], ["b", 100]]},
    ],
)
def test_other_clock_uses_have_unknown_transitions(condition: Any) -> None:
    compiled_flag = flag({"if": [{"!": [condition]}, "a"]})

    assert (compiled_flag.transitions, compiled_flag.transitions_are_known) == ((), False)


@example(operators=["/", "/", "+"], numbers=[969, 66366.0, 100_000.0, 1], comparison="==")
@given(
    operators=st.lists(st.sampled_from(["+", "-", "*", "/"]), max_size=3),
    numbers=st.lists(st.integers(1, 10_000) | st.floats(0.5, 1e6), min_size=4, max_size=4),
    comparison=st.sampled_from(["<", "<=", ">", ">=", "==", "!=="]),
)
def test_linear_rule_transitions_are_all_its_changes(
    operators: list[str], numbers: list[float], comparison: str
) -> None:
    value: Any = CLOCK
    for operator, number in zip(operators, numbers, strict=False):
        value = {operator: [value, number]}
    limit, start, later = (result(value, {}, run=Run({}, now)) for now in (NOW, 0, 2**31))
    # A clock that is offset by more seconds has unknown transitions, because doubles are imprecise.
    assume(abs(start) < abs(later - start) / 2**31 * 2**43)
    compiled_flag = flag({"if": [{comparison: [value, limit]}, "a"]})

    bodies = {now: compiled_flag.evaluate({}, now).body for now in range(NOW - 100, NOW + 100)}

    changes = {now for now in bodies if bodies[now] != bodies.get(now - 1, bodies[now])}
    assert compiled_flag.transitions_are_known
    assert changes == {
        transition for transition in compiled_flag.transitions if NOW - 100 < transition < NOW + 100
    }


def test_latest_transition_any_order_of_times_is_right() -> None:
    transitions = Transitions([(10, 20), (15,)], is_known=True)

    latest = [transitions.latest(now) for now in (5, 10, 12, 15, 19.5, 20, 99, 14, 5, 99)]

    assert latest == [0, 10, 10, 15, 15, 20, 20, 10, 0, 20]


def test_outcome_with_clock_changes_with_time() -> None:
    later = flag({"if": [{">": [var("$flagd.timestamp"), NOW]}, "a"]})

    assert later.evaluate({}, NOW).outcome.variant == "b"
    assert later.evaluate({}, NOW + 1).outcome.variant == "a"
