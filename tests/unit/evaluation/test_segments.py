"""Segments are rules that other rules refer to, and read the same data."""

from app.evaluation.engine import ErrorCode, Reason
from tests.unit.evaluation.rules import NOW, flag, result, var


def test_segment_reads_data_of_its_reference() -> None:
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


def test_constant_in_list_is_folded() -> None:
    segments = {"name": "a", "names": ["a", {"$ref": "name"}]}

    assert result([{"$ref": "name"}, 1], segments=segments) == ["a", 1]
    assert result([[var("$flagd.flagKey")], 1]) == [["flag"], 1]
    assert result({"in": [var("x"), [{"$ref": "name"}]]}, {"x": "a"}, segments=segments) is True
    assert result({"in": ["flag", [var("$flagd.flagKey")]]}) is True
    assert result({"$ref": "names"}, segments=segments) == ["a", "a"]
    assert result({"fractional": ["x", [{"$ref": "name"}, 1]]}, segments=segments) == "a"


def test_missing_references_are_recorded() -> None:
    compiled_flag = flag({"if": [{"$ref": "one"}, "a"]}, segments={"one": {"$ref": "two"}})

    assert compiled_flag.evaluate({}, NOW).outcome.error_code is ErrorCode.PARSE_ERROR
    assert compiled_flag.references == {"one", "two"}


def test_circular_segments_are_refused() -> None:
    for segments in ({"x": {"$ref": "x"}}, {"x": {"!": [{"$ref": "y"}]}, "y": {"$ref": "x"}}):
        compiled_flag = flag({"if": [{"$ref": "x"}, "a"]}, segments=segments)

        assert "circle" in str(compiled_flag.evaluate({}, NOW).outcome.error_details)
    # Two references to the same segment are no circle.
    twice = flag({"and": [{"$ref": "x"}, {"$ref": "x"}, "a"]}, segments={"x": True})
    assert twice.evaluate({}, NOW).outcome.reason is Reason.TARGETING_MATCH


def test_reference_outside_rule_is_data() -> None:
    variants = {"a": {"$ref": "x"}, "b": 1}
    compiled_flag = flag({"if": [True, "a"]}, variants=variants, segments={"x": True})

    assert compiled_flag.evaluate({}, NOW).outcome.value == {"$ref": "x"}
    assert compiled_flag.references == frozenset()


def test_error_names_path_with_limited_length() -> None:
    short = flag({"if": [{"!": [{"$ref": "absent"}]}, "a"]}).evaluate({}, NOW).outcome
    long = flag({"x" * 10_000: 1}).evaluate({}, NOW).outcome

    assert short.error_details == "targeting.if[0].![0].$ref: there is no such segment."
    assert len(str(long.error_details)) < 200
