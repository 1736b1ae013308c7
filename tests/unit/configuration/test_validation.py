"""Violations of a definition name the field and the rule, and never quote the value."""

import json
from typing import Any

import pytest

from app.configuration.changes.content_checks import check_content
from app.configuration.changes.models import Content, Kind
from app.configuration.json_schema.pool import Checkers, RequestCheck
from app.errors import Invalid, Violation
from app.evaluation.compiler import LIST_VALUES_MAX
from app.evaluation.targeting import RULE_DEPTH_MAX, WEIGHTS_SUM_MAX
from app.evaluation.validation import VIOLATIONS_MAX, check_flag, check_segment
from app.server import sample_data as seeds
from tests.factories import flag
from tests.paths import SHARED_DATA

CANARY = "canary7f3a"
# None of these contents has a schema, so no process is started.
CHECK = RequestCheck(Checkers())
EXAMPLES = SHARED_DATA / "example_flags.flagd.json"

COUNT = "must be a list of {} arguments"
VARIANT = "must be the name of a variant"
VARIANT_OR_NULL = "must be the name of a variant, or null"
TYPES = "must be all booleans, all strings, all numbers or all objects"
VALUE = "must be a boolean, a string, a number or an object"
NAMES = "must have names without quotes, backslashes, <, >, & and control characters"
ELSEWHERE = 'must not stand here, where {"if": [{"$ref": KEY}]} may'
VERSION = "must be a full version, such as 1.2.3, or a var"
TEXT = "must be a string or a rule"
COMPARISON = "must be one of = != > < >= <= ~ ^"
BUCKET = "must be a list of a variant and, optionally, a weight"
WEIGHT = "must be a whole number from 0, or a rule"


def broken(value: Any) -> list[tuple[str, str]]:
    return [(violation.field, violation.rule) for violation in check_flag(value)]


@pytest.mark.parametrize("value", [None, [], "x", 1, True])
def test_flag_that_is_not_an_object_is_refused(value: Any) -> None:
    assert broken(value) == [("", "must be an object")]


@pytest.mark.parametrize(
    ("members", "field", "rule"),
    [
        ({"state": None}, "state", "must be ENABLED or DISABLED"),
        ({"state": "enabled"}, "state", "must be ENABLED or DISABLED"),
        ({"state": ["ENABLED"]}, "state", "must be ENABLED or DISABLED"),
        ({"variants": None}, "variants", "must be an object with at least one member"),
        ({"variants": []}, "variants", "must be an object with at least one member"),
        ({"variants": {}}, "variants", "must be an object with at least one member"),
        ({"variants": {"": 1}}, "variants", "must have names of 1 to 255 characters"),
        ({"variants": {"x" * 256: 1}}, "variants", "must have names of 1 to 255 characters"),
        ({"variants": {'"': 1}}, "variants", NAMES),
        ({"variants": {"it's": 1}}, "variants", NAMES),
        ({"variants": {"a&b": 1}}, "variants", NAMES),
        ({"variants": {"a\x85": 1}}, "variants", NAMES),
        ({"variants": {"on": None}}, "variants.on", VALUE),
        ({"variants": {"on": True, "off": None}}, "variants.off", VALUE),
        ({"variants": {"on": [], "off": {}}}, "variants.on", VALUE),
        ({"variants": {"on": True, "off": 0}}, "variants", TYPES),
        ({"variants": {"on": {}, "off": "x"}}, "variants", TYPES),
        ({"defaultVariant": "blue"}, "defaultVariant", VARIANT_OR_NULL),
        ({"defaultVariant": ""}, "defaultVariant", VARIANT_OR_NULL),
        ({"defaultVariant": True}, "defaultVariant", VARIANT_OR_NULL),
        ({"metadata": []}, "metadata", "must be an object"),
        ({"metadata": {"a": None}}, "metadata.a", "must be a string, a number or a boolean"),
        ({"targeting": None}, "targeting", "must be an object"),
        ({"targeting": "on"}, "targeting", "must be an object"),
        ({"guards": {}}, "guards", "must be a list"),
        ({"guards": [1]}, "guards[0]", "must be an object"),
        ({"guards": [{"variant": None}]}, "guards[0].context", "must be an object"),
        ({"guards": [{"context": {}}]}, "guards[0].variant", VARIANT_OR_NULL),
        ({"guards": [{"context": {}, "variant": "x"}]}, "guards[0].variant", VARIANT_OR_NULL),
        (
            {"guards": [{"context": {}, "variant": None, "name": 1}]},
            "guards[0].name",
            "must be a string",
        ),
        (
            {"guards": [{"context": {}, "variant": None, "why": 1}]},
            "guards[0].why",
            "is not one of context, name, variant",
        ),
    ],
)
def test_member_that_breaks_its_rule_is_refused(
    members: dict[str, Any], field: str, rule: str
) -> None:
    assert broken(flag(**members)) == [(field, rule)]


@pytest.mark.parametrize("name", ["description", "$comment", "source", "owner", "x-y"])
def test_flag_with_unknown_member_is_accepted(name: str) -> None:
    """The schema of flagd allows other members, and its evaluators ignore them."""
    assert broken(flag(**{name: ["any", {"value": None}]})) == []


@pytest.mark.parametrize(
    ("rule", "field", "what"),
    [
        ({"==": [1, 1], "!=": [1, 2]}, "", "must have one operator"),
        ({"in": ["a", {}]}, ".in[1]", "must have one operator"),
        ({"in": ["a", [{"a": 1, "b": 2}]]}, ".in[1][0]", "must have one operator"),
        ({"log": "x"}, ".log", "is not a known operator"),
        ({"?:": [1, 2, 3]}, ".?:", "is not a known operator"),
        ({"!": {"xor": [1]}}, ".!.xor", "is not a known operator"),
        ({"==": [1]}, ".==", COUNT.format(2)),
        ({"==": [1, 2, 3]}, ".==", COUNT.format(2)),
        ({"==": 1}, ".==", COUNT.format(2)),
        ({">": [1, 2, 3]}, ".>", COUNT.format(2)),
        ({"<": [1, 2, 3, 4]}, ".<", COUNT.format("2 or 3")),
        ({"substr": ["a"]}, ".substr", COUNT.format("2 or 3")),
        ({"reduce": [1, 2]}, ".reduce", COUNT.format(3)),
        ({"*": [1]}, ".*", COUNT.format("2 or more")),
        ({"if": []}, ".if", COUNT.format("1 or more")),
        ({"and": {"var": "x"}}, ".and", COUNT.format("1 or more")),
        ({"!": []}, ".!", "must be one argument"),
        ({"!!": [1, 2]}, ".!!", "must be one argument"),
        ({"missing": "a"}, ".missing", "must be a list of names"),
        ({"missing": ["a", 1]}, ".missing", "must be a list of names"),
        (
            {"missing_some": [1]},
            ".missing_some",
            "must be a list of a number and a list of names",
        ),
        ({"missing_some": [True, ["a"]]}, ".missing_some[0]", "must be a number"),
        ({"missing_some": [1, "a"]}, ".missing_some[1]", "must be a list of names"),
        (
            {"var": "$flagd.flagkey"},
            ".var",
            "must be one of $flagd.flagKey, $flagd.timestamp if it begins with $flagd.",
        ),
        ({"starts_with": [{"var": "x"}]}, ".starts_with", COUNT.format(2)),
        ({"starts_with": [{"var": "x"}, 1]}, ".starts_with[1]", TEXT),
        ({"ends_with": [["a"], "a"]}, ".ends_with[0]", TEXT),
        (
            {"sem_ver": [{"var": "v"}, "="]},
            ".sem_ver",
            "must be a list of a version, a comparison and a version",
        ),
        ({"sem_ver": ["1.2.3", "==", "1.2.3"]}, ".sem_ver[1]", COMPARISON),
        ({"sem_ver": ["1.2.3", {"var": "x"}, "1.2.3"]}, ".sem_ver[1]", COMPARISON),
        ({"sem_ver": [{"cat": ["1.2.3"]}, "=", "1.2.3"]}, ".sem_ver[0]", VERSION),
        ({"sem_ver": [{"var": "v"}, "=", "1.2"]}, ".sem_ver[2]", VERSION),
        ({"sem_ver": [{"var": "v"}, "=", "v1.2.3"]}, ".sem_ver[2]", VERSION),
        ({"sem_ver": [{"var": "v"}, "=", "1.02.3"]}, ".sem_ver[2]", VERSION),
        ({"sem_ver": [{"var": "v"}, "=", "1.2.3\n"]}, ".sem_ver[2]", VERSION),
        (
            {"fractional": "on"},
            ".fractional",
            "must be a list of buckets, optionally after a rule",
        ),
        ({"fractional": ["on"]}, ".fractional[0]", BUCKET),
        ({"fractional": [["on", 1], {"var": "x"}]}, ".fractional[1]", BUCKET),
        ({"fractional": [{"var": "x"}, ["on", 1, 2]]}, ".fractional[1]", BUCKET),
        ({"fractional": [["on", -1]]}, ".fractional[0][1]", WEIGHT),
        ({"fractional": [["on", 0.5]]}, ".fractional[0][1]", WEIGHT),
        ({"fractional": [["on", True]]}, ".fractional[0][1]", WEIGHT),
        ({"fractional": [["on", {"log": 1}]]}, ".fractional[0][1].log", "is not a known operator"),
        (
            {"fractional": [["on", WEIGHTS_SUM_MAX], ["off"]]},
            ".fractional",
            "must have weights that sum up to at most 2147483647",
        ),
        ({"$ref": "staff"}, ".$ref", ELSEWHERE),
        ({"starts_with": [{"$ref": "staff"}, "a"]}, ".starts_with[0].$ref", ELSEWHERE),
        ({"!": {"$ref": "no key"}}, ".!.$ref", "must be the key of a segment"),
        ({"!": {"$ref": ["staff"]}}, ".!.$ref", "must be the key of a segment"),
    ],
)
def test_rule_of_wrong_shape_is_refused(rule: dict[str, Any], field: str, what: str) -> None:
    """The same for a segment and for the targeting of a flag."""
    [of_segment] = check_segment(rule)
    [of_targeting] = check_flag(flag(targeting=rule))

    assert of_targeting.field == f"targeting{field}"
    assert of_segment == Violation(field.removeprefix("."), of_targeting.rule)
    assert of_segment.rule == what


def test_all_violations_are_listed_at_once() -> None:
    rule = {"if": [{"sem_ver": [{"var": "v"}, "is", "1"]}, {"log": 1}, "purple"]}

    assert broken({"state": "ON", "variants": {"on": 1}, "targeting": rule}) == [
        ("state", "must be ENABLED or DISABLED"),
        ("targeting.if[0].sem_ver[1]", COMPARISON),
        ("targeting.if[0].sem_ver[2]", VERSION),
        ("targeting.if[1].log", "is not a known operator"),
    ]
    assert len(check_segment({"and": [{"log": 1}] * 100})) == VIOLATIONS_MAX


def test_violations_never_quote_the_value() -> None:
    rule = {"if": [{"sem_ver": [CANARY, CANARY, CANARY]}, {"fractional": [[{}, CANARY]]}]}
    wrong = {
        "state": CANARY,
        "variants": {f"<{CANARY}>": CANARY, "on": 1},
        "defaultVariant": CANARY,
        "targeting": rule,
        "metadata": {"a": [CANARY]},
        "guards": [{"context": CANARY, "variant": CANARY, "name": [CANARY]}],
    }

    result = check_flag(wrong) + check_flag(flag(targeting={"if": [True, CANARY, CANARY]}))

    assert len(result) > 10
    assert CANARY not in str(result)


# Results of a rule


@pytest.mark.parametrize(
    ("targeting", "field", "rule"),
    [
        ({"if": [True, "blue"]}, ".if[1]", VARIANT),
        ({"if": [True, "on", "blue"]}, ".if[2]", VARIANT),
        ({"if": [True, "on", False, "off", "blue"]}, ".if[4]", VARIANT),
        ({"if": [True, {"if": [True, "blue"]}]}, ".if[1].if[1]", VARIANT),
        ({"if": [True, 1]}, ".if[1]", VARIANT),
        ({"fractional": [[1.5], ["on"]]}, ".fractional[0][0]", VARIANT),
        ({"if": [True, ["on"]]}, ".if[1]", f"{VARIANT}, true, false or null"),
        ({"if": [True, True]}, ".if[1]", "can be true, so there must be a variant of that name"),
        ({"fractional": [["on"], ["blue", 0]]}, ".fractional[1][0]", VARIANT),
        ({"fractional": [{"var": "x"}, [{"or": ["blue"]}]]}, ".fractional[1][0].or[0]", VARIANT),
        ({"or": ["blue", "on"]}, ".or[0]", VARIANT),
        ({"and": ["blue", "green"]}, ".and[1]", VARIANT),
        ({"var": ["colour", "blue"]}, ".var[1]", VARIANT),
        (
            {"and": [{"==": [{"var": "a"}, 1]}, "on"]},
            ".and[0]",
            "can be false, so there must be a variant of that name",
        ),
        (
            {"or": [{"==": [{"var": "a"}, 1]}, "on"]},
            ".or[0]",
            "can be true, so there must be a variant of that name",
        ),
    ],
)
def test_result_of_a_rule_must_be_a_variant(targeting: Any, field: str, rule: str) -> None:
    assert broken(flag(targeting=targeting)) == [(f"targeting{field}", rule)]


@pytest.mark.parametrize(
    "targeting",
    [
        {},
        {"if": [{"in": ["blue", "green"]}, "on", None]},
        {"if": [{"var": ["colour", "blue"]}, {"var": "variant"}, {"cat": ["o", "n"]}]},
        {"if": [{"$ref": "staff"}]},
        {"and": ["blue", "on"]},
        {"or": [None, "", 0, "on"]},
        {"fractional": [["on", 1], [None, 50.0]]},
        {"fractional": [{"cat": ["salt", {"var": "targetingKey"}]}, ["on", {"var": "n"}], ["off"]]},
    ],
)
def test_unreachable_result_need_not_be_a_variant(targeting: dict[str, Any]) -> None:
    assert broken(flag(targeting=targeting)) == []


@pytest.mark.parametrize(("number", "name"), [(2, "2"), (1.5, "1.5"), (1.0, "1"), (1e21, "1e+21")])
def test_number_that_names_a_variant_is_valid(number: float, name: str) -> None:
    variants = {name: True, "on": False}

    for targeting in ({"fractional": [[number, 50], ["on", 50]]}, {"if": [True, number, None]}):
        assert broken(flag(variants=variants, targeting=targeting)) == []


def test_bare_test_is_a_rule_for_true_and_false_variants() -> None:
    rule = {"ends_with": [{"var": "email"}, "@example.org"]}
    both = {"true": "#fff", "false": "#000"}

    assert broken(flag(variants=both, targeting=rule)) == []
    assert broken(flag(targeting=rule)) == [
        ("targeting", f"can be {name}, so there must be a variant of that name") for name in both
    ]


# Limits


def test_too_deep_rule_is_refused() -> None:
    def nested(depth: int) -> Any:
        rule: Any = {"var": "x"}
        for _ in range((depth - 2) // 2):
            rule = {"!": [rule]}
        return rule

    assert check_segment(nested(RULE_DEPTH_MAX)) == []
    for depth in (RULE_DEPTH_MAX + 2, 100_000):
        assert broken(flag(targeting=nested(depth))) == [
            ("targeting", f"must not nest deeper than {RULE_DEPTH_MAX}")
        ]


def test_list_in_rule_of_more_than_10000_values_is_refused() -> None:
    def wide(count: int) -> Any:
        return {"in": [{"var": "x"}, ["y"] * count]}

    assert check_segment(wide(LIST_VALUES_MAX)) == []
    for count in (LIST_VALUES_MAX + 1, 100_000):
        assert check_segment(wide(count)) == [
            Violation("", f"must not have a list of more than {LIST_VALUES_MAX} values")
        ]


def test_variant_values_may_have_any_depth() -> None:
    value: dict[str, Any] = {}
    for _ in range(100_000):
        value = {"a": value}

    assert check_flag(flag(variants={"on": value})) == []


# Content


@pytest.mark.skipif(not EXAMPLES.exists(), reason="flagd's example flags are not here")
def test_flagd_examples_are_valid() -> None:
    document = json.loads(EXAMPLES.read_text())

    results = [item for value in document["flags"].values() for item in check_flag(value)]
    results += [item for value in document["$evaluators"].values() for item in check_segment(value)]

    assert len(document["flags"]) > 5
    assert results == []


def test_test_data_is_valid() -> None:
    for content in seeds.CONTENTS.values():
        assert check_content(content, CHECK) == []


@pytest.mark.parametrize("kind", [Kind.FLAG, Kind.SEGMENT])
def test_lenient_caller_gets_warnings(kind: Kind) -> None:
    content = Content(kind=kind, value={"log": 1})

    warnings = check_content(content, CHECK, lenient=True)

    with pytest.raises(Invalid) as caught:
        check_content(content, CHECK)
    assert caught.value.code == f"{kind}_invalid"
    assert list(caught.value.violations) == warnings
    field = "value.log" if kind is Kind.SEGMENT else "value.state"
    assert field in {warning.field for warning in warnings}
    with pytest.raises(Invalid, match=r"^value: must be an object$"):
        check_content(Content(kind=kind, value=[]), CHECK, lenient=True)


def test_setting_may_have_any_value() -> None:
    assert check_content(Content(kind=Kind.SETTING, value={"state": 1}), CHECK) == []
