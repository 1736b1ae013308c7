"""A flag's outcome: the order of decisions, reasons, errors and metadata."""

import json
from copy import deepcopy
from typing import Any

import msgspec
import pytest

from app.evaluation.engine import ErrorCode, Flag, FlagSet, Outcome, Reason
from tests.paths import SHARED_DATA
from tests.unit.evaluation.rules import NOW, compiled, flag, var

EXAMPLE = SHARED_DATA / "example_flags.flagd.json"
BY_DEFAULT = {"reason": Reason.DEFAULT, "variant": "b", "value": "B"}
FIRST = {"reason": Reason.TARGETING_MATCH, "variant": "a", "value": "A"}


def outcome(of: Flag, context: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return an outcome without key and metadata, and check that its JSON agrees."""
    evaluation = of.evaluate(context or {}, NOW)
    assert msgspec.json.decode(evaluation.body, type=Outcome) == evaluation.outcome
    decoded = msgspec.json.decode(evaluation.body)
    assert decoded.pop("key") == "flag"
    decoded.pop("metadata", None)
    return dict(decoded)


def error(of: Flag) -> str:
    """Return the code of a failure, which has no other members than its details."""
    decoded = outcome(of)
    assert decoded.keys() == {"errorCode", "errorDetails"}
    assert decoded["errorDetails"].endswith(".")
    return str(decoded["errorCode"])


# The order of decisions


@pytest.mark.parametrize("targeting", [None, {}, {"if": [True, "a"]}, {"nonsense": 1}])
def test_disabled_flag_has_no_value_and_runs_no_rule(targeting: Any) -> None:
    assert outcome(flag(targeting, state="DISABLED")) == {"reason": Reason.DISABLED, "variant": ""}


@pytest.mark.parametrize("state", [None, "", "enabled", True, ["ENABLED"]])
def test_unknown_state_is_an_error(state: Any) -> None:
    assert error(flag(state=state)) == ErrorCode.PARSE_ERROR


@pytest.mark.parametrize("targeting", [None, {}])
def test_flag_without_rule_has_reason_static(targeting: Any) -> None:
    assert outcome(flag(targeting)) == {**BY_DEFAULT, "reason": Reason.STATIC}


@pytest.mark.parametrize("targeting", [None, {}, {"if": [False, "a"]}, {"var": "absent"}])
@pytest.mark.parametrize("default", [{"defaultVariant": None}, {"defaultVariant": ""}, {}])
def test_flag_without_default_has_no_value(targeting: Any, default: Any) -> None:
    definition = {"state": "ENABLED", "variants": {"a": 1}, "targeting": targeting, **default}

    assert outcome(compiled(definition)) == {"reason": Reason.DEFAULT, "variant": ""}


@pytest.mark.parametrize("default", ["c", "A", 1, True, ["a"]])
def test_default_that_is_no_variant_is_an_error(default: Any) -> None:
    for targeting in (None, {"if": [False, "a"]}):
        assert error(flag(targeting, defaultVariant=default)) == ErrorCode.PARSE_ERROR
    # If the rule decides, the default is not used.
    assert outcome(flag({"if": [True, "a"]}, defaultVariant=default)) == FIRST


def test_rule_result_null_gives_default() -> None:
    assert outcome(flag({"if": [var("x"), "a"]})) == BY_DEFAULT
    assert outcome(flag({"starts_with": [var("x"), "a"]})) == BY_DEFAULT


def test_rule_result_variant_name_matches() -> None:
    for rule in ({"if": [True, "a"]}, {"cat": ["", "a"]}, {"fractional": ["x", ["a"]]}):
        assert outcome(flag(rule)) == FIRST


def test_rule_result_boolean_names_variant() -> None:
    variants = {"true": 1, "false": 0}
    switched = flag({"==": [var("x"), 1]}, variants=variants, defaultVariant="false")

    assert outcome(switched, {"x": 1})["variant"] == "true"
    assert outcome(switched) == {
        "reason": Reason.TARGETING_MATCH,
        "variant": "false",
        "value": 0,
    }
    assert error(flag({"!": [1]})) == ErrorCode.GENERAL


@pytest.mark.parametrize(
    ("number", "name"),
    [
        (2, "2"),
        (2.0, "2"),
        (1.5, "1.5"),
        (0, "0"),
        (-0.0, "0"),
        (-1, "-1"),
        (1e21, "1e+21"),
        (1e20, "100000000000000000000"),
        (1e-7, "1e-7"),
        (0.000001, "0.000001"),
        (2**53 + 1, "9007199254740992"),
        (5e-324, "5e-324"),
    ],
)
def test_rule_result_number_names_variant(number: float, name: str) -> None:
    variants = {name: "found", "other": "not"}
    rules: list[Any] = [
        {"if": [True, number]},
        {"if": [True, var("n")]},
        {"fractional": ["seed", [number, 1]]},
        {"fractional": [["other", 0], [number, 1]]},
    ]

    for rule in rules:
        given = outcome(flag(rule, variants=variants), {"n": number, "targetingKey": "u"})
        assert (given["variant"], given["value"]) == (name, "found")


@pytest.mark.parametrize(
    "given", ["c", "", "True", 2, 1.5, [], ["a"], {"a": 1, "b": 2}, {"/": [0, 0]}, {"/": [1, 0]}]
)
def test_rule_result_other_is_an_error(given: Any) -> None:
    variants = {"a": "A", "b": "B", "1": "one", "a,": 1, "NaN": 1, "Infinity": 1}

    assert error(flag({"if": [True, given]}, variants=variants)) == ErrorCode.GENERAL


@pytest.mark.parametrize(
    "rule",
    [
        {"nonsense": [1]},
        {"if": [True, "a", {"nonsense": 1}]},
        {"$ref": "absent"},
        {"$ref": 1},
        {"$ref": ["segment"]},
    ],
)
def test_uncompilable_rule_is_a_parse_error(rule: Any) -> None:
    assert error(flag(rule)) == ErrorCode.PARSE_ERROR


def test_failing_rule_is_a_general_error() -> None:
    assert error(flag({"*": []})) == ErrorCode.GENERAL


@pytest.mark.parametrize("value", [False, 0, 1.0, "", "é", {}, {"a": [1, None]}, []])
def test_outcome_has_exact_value(value: Any) -> None:
    evaluation = flag(variants={"b": value}).evaluate({}, NOW)

    assert evaluation.outcome.value == value
    assert json.dumps(json.loads(evaluation.body)["value"]) == json.dumps(value)


@pytest.mark.parametrize("targeting", [None, {"if": [False, "a"]}, {"if": [True, "b"]}])
def test_null_variant_is_an_error(targeting: Any) -> None:
    """Flagd fails too, with a type mismatch; OFREP has no value null."""
    assert error(flag(targeting, variants={"a": "A", "b": None})) == ErrorCode.GENERAL


def test_null_variant_does_not_affect_other_variants() -> None:
    assert outcome(flag({"if": [True, "a"]}, variants={"a": "A", "b": None})) == FIRST


@pytest.mark.parametrize("odd", [None, 1, [], "x"])
def test_any_definition_has_an_outcome(odd: Any) -> None:
    assert outcome(flag(variants=odd, metadata=odd))
    assert outcome(flag(odd, state=odd, defaultVariant=odd))


# Metadata, and immutable outcomes


@pytest.mark.parametrize(
    "members",
    [{}, {"state": "DISABLED"}, {"state": ""}, {"defaultVariant": None}, {"defaultVariant": "c"}],
)
@pytest.mark.parametrize("targeting", [None, True, {"if": [1, "a"]}, {"x": 1}, {"*": []}, {"!": 1}])
def test_flag_metadata_overrides_flag_set_metadata(targeting: Any, members: Any) -> None:
    compiled_flag = flag(
        targeting, flag_set={"team": "x", "tier": 1}, metadata={"team": "y"}, **members
    )

    assert compiled_flag.evaluate({}, NOW).outcome.metadata == {"team": "y", "tier": 1}


def test_outcomes_are_shared_and_never_changed() -> None:
    definition = {
        "state": "ENABLED",
        "variants": {"a": {"list": [1]}, "b": {}},
        "defaultVariant": "b",
        "targeting": {"if": [{"reduce": [var("l"), {"merge": [var("accumulator"), 1]}, []]}, "a"]},
    }
    context = {"l": [1, [2], {"a": 1}], "$flagd": {"flagKey": "mine"}}
    before = deepcopy((definition, context))
    compiled_flag = compiled(definition)

    first, second = compiled_flag.evaluate(context, NOW), compiled_flag.evaluate(context, NOW + 1)

    assert first is second
    assert (definition, context) == before
    with pytest.raises(AttributeError):
        first.outcome.variant = "b"  # type: ignore[misc]
    with pytest.raises(AttributeError):
        first.body = b""  # type: ignore[misc]


@pytest.mark.skipif(not EXAMPLE.exists(), reason="flagd's example flags are not here")
def test_flagd_example_flags_have_same_outcomes() -> None:
    document = json.loads(EXAMPLE.read_text())
    flag_set = FlagSet(document["$evaluators"], "v3", document["metadata"])
    flags = {key: Flag(key, definition, flag_set) for key, definition in document["flags"].items()}

    def variant(key: str, context: dict[str, Any]) -> str | None:
        return flags[key].evaluate(context, NOW).outcome.variant

    assert flags["myBoolFlag"].evaluate({}, NOW).outcome.metadata["version"] == "v2"
    assert variant("isColorYellow", {"color": "yellow"}) == "on"
    assert variant("isColorYellow", {}) == "off"
    assert variant("fibAlgo", {"email": "ada@faas.com"}) == "binet"
    assert variant("fibAlgo", {"email": "ada@example.org"}) == "recursive"
    assert variant("headerColor", {"email": "ada@faas.com"}) in {"red", "blue", "green", "yellow"}
    assert variant("targetedFlag", {"email": "ada@openfeature.dev"}) == "second"
