"""Compare the checks with flagd's published schema, plus corrections where ours are stricter.

Each test changes a valid definition in one place. The checks and the schema must agree whether the
result is valid. Exceptions are the corrections below, and rules that no schema can express.
"""

import copy
import json
from collections.abc import Iterator
from functools import cache
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from app.evaluation.validation import check_flag, check_segment
from app.names import STORED_KEY_PATTERN
from tests.examples import examples
from tests.paths import SHARED_DATA

SCHEMAS = SHARED_DATA / "flagd-schema"
CLASSIC = SHARED_DATA / "jsonlogic_tests.json"
HOME = "https://flagd.dev/schema/v0/"

pytestmark = pytest.mark.skipif(not SCHEMAS.exists(), reason="flagd's schemas are not here")

# Rules that compare two parts of a definition, which no schema can express.
BEYOND_SCHEMAS = (
    "must be the name of a variant",
    "must be the name of a variant, or null",
    "must be the name of a variant, true, false or null",
    "can be true, so there must be a variant of that name",
    "can be false, so there must be a variant of that name",
    "must have weights that sum up to at most 2147483647",
)

ARGUMENT = {"$ref": "#/definitions/args"}
RESERVED = {
    "type": "string",
    "pattern": r"^\$flagd\.",
    "not": {"enum": ["$flagd.flagKey", "$flagd.timestamp"]},
}
GUARD = {
    "type": "object",
    "properties": {
        "context": {"type": "object"},
        "variant": {"type": ["string", "null"]},
        "name": {"type": "string"},
    },
    "required": ["context", "variant"],
    "additionalProperties": False,
}


def correct(name: str, schema: dict[str, Any]) -> None:
    """Add our stricter rules to the published schema."""
    parts = schema["definitions"]
    if name == "flags.json":
        # The published schema does not define guards.
        parts["baseFlag"]["properties"]["guards"] = {"type": "array", "items": GUARD}
        # flagd's own evaluator cannot look up names with these characters.
        parts["baseFlag"]["properties"]["variants"]["propertyNames"] = {
            "maxLength": 255,
            "pattern": "^[^\"'\\\\<>&\\x00-\\x1f\\x7f-\\x9f\\u2028\\u2029]*$",
        }
        return
    rules = [name for name in parts if "rule" in name.lower() and name != "anyRule"]
    for rule in [*rules, "reference"]:
        # The schema groups operators, and accepts an object with none or several of a group.
        # Evaluation treats such an object as plain data.
        parts[rule] |= {"minProperties": 1, "maxProperties": 1}
    # Evaluation treats the elements of a list as arguments, so an invalid element fails too.
    parts["primitive"]["oneOf"][4]["items"] = ARGUMENT
    # An operator with one argument accepts it without a list, so a list is a list of arguments.
    parts["unaryOp"]["anyOf"][1] = {"allOf": [ARGUMENT, {"not": {"type": "array"}}]}
    # Evaluation computes the argument of a var first. The schema accepts any argument except a
    # string, and in a list also unknown names of flagd.
    parts["varRule"]["properties"]["var"] = {
        "allOf": [
            ARGUMENT,
            {"not": RESERVED},
            {"not": {"type": "array", "minItems": 1, "items": [RESERVED]}},
        ]
    }
    # A reference must be a valid key, since no segment can have another.
    parts["reference"]["patternProperties"][r"^\$ref$"]["pattern"] = STORED_KEY_PATTERN


@cache
def validator(pointer: str, *, corrected: bool) -> jsonschema_rs.Validator:
    def retrieve(uri: str) -> Any:
        name = uri.removeprefix(HOME)
        schema = json.loads((SCHEMAS / name).read_text())
        if corrected:
            correct(name, schema)
        return schema

    draft = "http://json-schema.org/draft-07/schema#"
    return jsonschema_rs.validator_for(
        {"$schema": draft, "$ref": HOME + pointer}, retriever=retrieve
    )


def compare_flag(flag: Any) -> None:
    """Assert that check and schema agree, as far as a schema can express it."""
    _compare(flag, {v.rule for v in check_flag(flag)}, "flags.json#/definitions/anyFlag")


def compare_segment(rule: Any) -> None:
    # The root of targeting.json accepts {}. A reference puts the segment in place of an argument,
    # where the same schema refuses {}.
    pointer = "targeting.json#/definitions/anyRule"
    _compare(rule, {v.rule for v in check_segment(rule)}, pointer)


def _compare(document: Any, broken: set[str], pointer: str) -> None:
    if not validator(pointer, corrected=False).is_valid(document):
        assert broken
    if not validator(pointer, corrected=True).is_valid(document):
        assert broken
    else:
        assert broken <= set(BEYOND_SCHEMAS)


# Valid definitions

TEXTS = st.sampled_from(["", "a", "1.2.3", "$flagd.timestamp", "email", "é\n"])
LITERALS = st.none() | st.booleans() | st.integers(-2, 2) | st.just(0.5) | TEXTS
REFERENCES = st.sampled_from([{"$ref": "staff"}, {"$ref": "a/b.c"}])
VERSIONS = st.sampled_from(["1.2.3", "0.0.0-rc.1+b.2", {"var": "v"}, {"var": ["v", "1.0.0"]}])
COMPARISONS = st.sampled_from(["=", "!=", ">", "<", ">=", "<=", "~", "^"])
LEAVES = st.sampled_from(
    [
        {"var": "email"},
        {"var": ["age", 18]},
        {"var": 1},
        {"var": {"var": "x"}},
        {"missing": ["a", "b"]},
        {"missing": []},
        {"missing_some": [1, ["a"]]},
    ]
) | st.tuples(VERSIONS, COMPARISONS, VERSIONS).map(lambda of: {"sem_ver": list(of)})


def _named(names: str, arguments: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.builds(lambda name, given: {name: given}, st.sampled_from(names.split()), arguments)


def _bigger(rules: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    plain = LITERALS | rules | REFERENCES
    argument = plain | st.lists(plain, max_size=3)
    texts = st.lists(TEXTS | rules, min_size=2, max_size=2)
    return (
        _named("== === != !== > >= % / map filter all none some in", _lists(argument, 2, 2))
        | _named("< <= substr", _lists(argument, 2, 3))
        | _named("reduce", _lists(argument, 3, 3))
        | _named("*", _lists(argument, 2, 4))
        | _named("! !!", plain | _lists(argument, 1, 1))
        | _named("if or and + - max min merge cat", _lists(argument, 1, 4))
        | _named("starts_with ends_with", texts)
        | _fractional(argument, rules)
    )


def _lists(of: st.SearchStrategy[Any], least: int, most: int) -> st.SearchStrategy[Any]:
    return st.lists(of, min_size=least, max_size=most)


def _fractional(
    of: st.SearchStrategy[Any], rules: st.SearchStrategy[Any]
) -> st.SearchStrategy[Any]:
    weights = st.integers(0, 99) | st.just(50.0) | rules
    buckets = st.lists(
        of.map(lambda x: [x]) | st.builds(lambda x, w: [x, w], of, weights), min_size=1
    )
    return st.builds(
        lambda first, rest: {"fractional": first + rest}, st.just([]) | _lists(rules, 1, 1), buckets
    )


RULES: st.SearchStrategy[Any] = st.recursive(LEAVES, _bigger, max_leaves=6)
RESULTS: st.SearchStrategy[Any] = st.recursive(
    st.sampled_from(["on", "off", "true", None, True, False]) | REFERENCES,
    lambda results: (
        st.builds(lambda c, *of: {"if": [c, *of]}, RULES, results, results)
        | _named("and or", _lists(results, 1, 3))
        | _fractional(results, RULES)
    ),
    max_leaves=4,
)
# The variants that a generated rule can return.
NAMES = ("on", "off", "true", "false")
VARIANTS = st.sampled_from([True, "x", 1, 2.5, {"a": [None]}]).map(
    lambda of: dict.fromkeys(NAMES, of)
)
FLAGS = st.fixed_dictionaries(
    {"state": st.sampled_from(["ENABLED", "DISABLED"]), "variants": VARIANTS},
    optional={
        "defaultVariant": st.sampled_from([*NAMES, None]),
        "targeting": st.just({})
        | st.builds(lambda c, *of: {"if": [c, *of]}, RULES, RESULTS, RESULTS)
        | _fractional(RESULTS, RULES),
        "metadata": st.dictionaries(TEXTS, st.booleans() | st.just(1.5) | TEXTS, max_size=2),
        "guards": st.lists(
            st.fixed_dictionaries(
                {"context": st.just({"a": 1}), "variant": st.sampled_from([*NAMES, None])},
                optional={"name": TEXTS},
            ),
            max_size=2,
        ),
    },
)

# Definitions with one change

ODD: st.SearchStrategy[Any] = st.sampled_from(
    [
        *(None, True, 0, -1, 1.5, 2**31, "", "x", "on", "1.2", "v1.0.0", "^", "<b>", "$flagd.x"),
        *([], {}, [{}], [[]], ["a"], ["a", "b"], [1, 2, 3, 4], [{"==": [1]}], [{"$ref": 1}]),
        *({"$ref": "staff"}, {"$ref": "no key"}, {"$ref": None}, {"var": "x"}, {"log": 1}),
        *({"==": [1, 1], "!=": [1, 2]}, {"var": ["$flagd.x"]}, {"var": {"a": 1, "b": 2}}),
        *({"a": 1}, {"if": []}, {"!": [1, 2]}, {"var": {}}),
    ]
)
MEMBERS = st.sampled_from(
    [
        *("$ref", "var", "==", "if", "!", "<", "*", "missing", "sem_ver", "fractional", "log"),
        *("starts_with", "?:", "state", "targeting", "guards", "key", "on", "a'b", "", "x" * 256),
    ]
)


@st.composite
def changed(draw: st.DrawFn, definitions: st.SearchStrategy[Any]) -> Any:
    document = copy.deepcopy(draw(definitions))
    holder = [document]
    place, name = draw(st.sampled_from(list(_places(holder))))
    # A change that does not fit its place has no effect.
    match draw(st.sampled_from(["replace", "remove", "repeat", "wrap", "rename", "add"])):
        case "replace":
            place[name] = draw(ODD)
        case "remove" if place is not holder:
            del place[name]
        case "repeat" if isinstance(place[name], list) and place[name]:
            place[name].append(copy.deepcopy(place[name][-1]))
        case "wrap":
            place[name] = [place[name]]
        case "rename" if isinstance(place, dict):
            place[draw(MEMBERS)] = place.pop(name)
        case "add" if isinstance(place[name], dict):
            place[name][draw(MEMBERS)] = draw(ODD)
        case _:
            pass
    return holder[0]


def _places(node: Any) -> Iterator[tuple[Any, Any]]:
    """Yield each part as its parent object or list, and its name or index in the parent."""
    for name in list(node) if isinstance(node, dict) else range(len(node)):
        yield node, name
        if isinstance(node[name], dict | list):
            yield from _places(node[name])


@pytest.mark.slow
@hypothesis_settings(max_examples=examples(150), deadline=None)
@given(FLAGS)
def test_valid_flag_passes_check_and_schema(flag: Any) -> None:
    assert check_flag(flag) == []
    compare_flag(flag)


@hypothesis_settings(max_examples=examples(150), deadline=None)
@given(RULES)
def test_valid_segment_passes_check_and_schema(rule: Any) -> None:
    assert check_segment(rule) == []
    compare_segment(rule)


@pytest.mark.slow
@hypothesis_settings(max_examples=examples(500), deadline=None)
@given(changed(FLAGS))
def test_mutated_flag_check_equals_schema(flag: Any) -> None:
    compare_flag(flag)


@pytest.mark.slow
@hypothesis_settings(max_examples=examples(500), deadline=None)
@given(changed(RULES))
def test_mutated_segment_check_equals_schema(rule: Any) -> None:
    compare_segment(rule)


@pytest.mark.skipif(not CLASSIC.exists(), reason="JsonLogic's own tests are not here")
def test_reference_rules_check_equals_schema() -> None:
    rules = [case[0] for case in json.loads(CLASSIC.read_text()) if isinstance(case, list)]

    for rule in rules:
        compare_segment(rule)

    assert len(rules) > 250
    assert sum(check_segment(rule) == [] for rule in rules) > 100


@pytest.mark.parametrize(
    ("flag", "reason"),
    [
        ({"guards": 1}, "guards of another shape"),
        ({"variants": {"a'b": True}}, "a name with a quote"),
        ({"targeting": {"==": [1, 1], "!=": [1, 2]}}, "two operators"),
        ({"targeting": {"starts_with": [{}, "a"]}}, "no operator"),
        ({"targeting": {"in": ["a", [{"log": 1}]]}}, "an unknown operator within a list"),
        ({"targeting": {"!": [1, 2]}}, "two arguments of one"),
        ({"targeting": {"!": []}}, "no argument of one"),
        ({"targeting": {"if": [{"var": {"log": 1}}, "on"]}}, "an unknown operator in a var"),
        ({"targeting": {"if": [{"var": ["$flagd.x"]}, "on"]}}, "a name that flagd does not have"),
        ({"targeting": {"if": [{"$ref": "no key"}, "on"]}}, "a reference to what cannot be"),
    ],
)
def test_stricter_checks_refuse_what_schema_accepts(flag: dict[str, Any], reason: str) -> None:
    pointer = "flags.json#/definitions/anyFlag"
    whole = {"state": "ENABLED", "variants": dict.fromkeys(NAMES, True), **flag}

    assert validator(pointer, corrected=False).is_valid(whole), reason
    assert not validator(pointer, corrected=True).is_valid(whole), reason
    assert check_flag(whole), reason
