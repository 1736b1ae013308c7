"""Segments: rules that other rules refer to, and that see what those see."""

from app.evaluation.engine import ErrorCode, Reason
from tests.unit.evaluation.rules import NOW, flag, result, var


def test_a_segment_sees_what_the_rule_sees_that_refers_to_it() -> None:
    segments = {
        "adult": {">=": [var("age"), 18]},
        "german": {"and": [{"$ref": "adult"}, {"==": [var("country"), "DE"]}]},
        "key": var("$flagd.flagKey"),
    }
    people = {"people": [{"age": 20, "country": "DE"}, {"age": 10, "country": "DE"}]}

    assert result({"$ref": "german"}, {"age": 20, "country": "DE"}, segments=segments) is True
    assert result({"$ref": "german"}, {"age": 10, "country": "DE"}, segments=segments) is False
    refer = {"map": [var("people"), {"$ref": "german"}]}
    assert result(refer, people, segments=segments) == [True, False]
    assert result({"$ref": "key"}, segments=segments) == "flag"
    assert result({"map": [[1], {"$ref": "key"}]}, segments=segments) == [None]
    assert flag({"if": [{"$ref": "german"}, "a"]}, segments=segments).references == {
        "german",
        "adult",
    }


def test_what_always_is_the_same_is_so_within_a_list_too() -> None:
    segments = {"name": "a", "names": ["a", {"$ref": "name"}]}

    assert result([{"$ref": "name"}, 1], segments=segments) == ["a", 1]
    assert result([[var("$flagd.flagKey")], 1]) == [["flag"], 1]
    assert result({"in": [var("x"), [{"$ref": "name"}]]}, {"x": "a"}, segments=segments) is True
    assert result({"in": ["flag", [var("$flagd.flagKey")]]}) is True
    assert result({"$ref": "names"}, segments=segments) == ["a", "a"]
    assert result({"fractional": ["x", [{"$ref": "name"}, 1]]}, segments=segments) == "a"


def test_references_that_are_missing_are_remembered() -> None:
    made = flag({"if": [{"$ref": "one"}, "a"]}, segments={"one": {"$ref": "two"}})

    assert made.evaluate({}, NOW).outcome.error_code is ErrorCode.PARSE_ERROR
    assert made.references == {"one", "two"}


def test_segments_in_a_circle_are_refused() -> None:
    for segments in ({"x": {"$ref": "x"}}, {"x": {"!": [{"$ref": "y"}]}, "y": {"$ref": "x"}}):
        made = flag({"if": [{"$ref": "x"}, "a"]}, segments=segments)

        assert "circle" in str(made.evaluate({}, NOW).outcome.error_details)
    # The same one twice is no circle.
    twice = flag({"and": [{"$ref": "x"}, {"$ref": "x"}, "a"]}, segments={"x": True})
    assert twice.evaluate({}, NOW).outcome.reason is Reason.TARGETING_MATCH


def test_a_reference_is_one_only_within_a_rule() -> None:
    variants = {"a": {"$ref": "x"}, "b": 1}
    made = flag({"if": [True, "a"]}, variants=variants, segments={"x": True})

    assert made.evaluate({}, NOW).outcome.value == {"$ref": "x"}
    assert made.references == frozenset()


def test_an_error_names_the_place_but_not_at_any_length() -> None:
    short = flag({"if": [{"!": [{"$ref": "absent"}]}, "a"]}).evaluate({}, NOW).outcome
    long = flag({"x" * 10_000: 1}).evaluate({}, NOW).outcome

    assert short.error_details == "targeting.if[0].![0].$ref: there is no such segment."
    assert len(str(long.error_details)) < 200
