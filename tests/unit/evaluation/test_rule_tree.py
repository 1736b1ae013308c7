"""Read targetings into the tree that people edit, and write them back."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET

from app.evaluation.rule_reader import read
from app.evaluation.rule_tree import (
    Advanced,
    Attribute,
    Comparison,
    ConditionGroup,
    DoubleNegation,
    Negation,
    SegmentReference,
    Targeting,
    TargetingRule,
    VariantShare,
    VariantSplit,
)
from app.evaluation.rule_writer import write
from tests.paths import SHARED_DATA
from tests.unit.evaluation.rule_grammar import ANY_RULE, ANY_VALUE

EXAMPLE = SHARED_DATA / "example_flags.flagd.json"

EMAIL = Attribute("email")
STAFF = Comparison(EMAIL, "ends_with", "@example.org")
PAYING = Comparison(Attribute("plan"), "in", ["pro", "team"])
BETA = Comparison(Attribute("beta"), None)
HALF = VariantSplit((VariantShare("on", 50), VariantShare("off", 50)))


@pytest.mark.parametrize(
    ("targeting", "tree"),
    [
        ({}, Targeting()),
        ({"if": ["on"]}, Targeting(otherwise="on")),
        ({"fractional": [["on", 50], ["off", 50]]}, Targeting(otherwise=HALF)),
        (
            {"ends_with": [{"var": "email"}, "@example.org"]},
            Targeting(shorthand=STAFF),
        ),
        (
            {"if": [{"ends_with": [{"var": "email"}, "@example.org"]}, "on"]},
            Targeting((TargetingRule(STAFF, "on"),)),
        ),
        (
            {"if": [{"$ref": "staff"}, "on", {"var": "beta"}, True, None]},
            Targeting(
                (
                    TargetingRule(SegmentReference("staff"), "on"),
                    TargetingRule(Comparison(Attribute("beta"), None), True),
                ),
                otherwise=None,
            ),
        ),
        (
            {"if": [{"$ref": "a"}, "on", {"if": [{"$ref": "b"}, "off", "on"]}]},
            Targeting(
                (
                    TargetingRule(SegmentReference("a"), "on"),
                    TargetingRule(SegmentReference("b"), "off"),
                ),
                otherwise="on",
                is_nested=True,
            ),
        ),
        (
            {
                "if": [
                    {
                        "and": [
                            {"in": [{"var": "plan"}, ["pro", "team"]]},
                            {"!": [{"ends_with": [{"var": "email"}, "@example.org"]}]},
                        ]
                    },
                    {"fractional": [{"var": "email"}, ["on"], ["off"]]},
                ]
            },
            Targeting(
                (
                    TargetingRule(
                        ConditionGroup("and", (PAYING, Negation(STAFF, is_list=True))),
                        VariantSplit((VariantShare("on"), VariantShare("off")), EMAIL),
                    ),
                )
            ),
        ),
        (
            {
                "if": [
                    {"!!": [{"var": "beta"}]},
                    "on",
                    {"!!": {"<=": [18, {"var": "age"}, 65]}},
                    "off",
                ]
            },
            Targeting(
                (
                    TargetingRule(DoubleNegation(BETA, is_list=True), "on"),
                    TargetingRule(
                        DoubleNegation(
                            Comparison(Attribute("age"), "<=", [18, 65], is_between=True)
                        ),
                        "off",
                    ),
                )
            ),
        ),
        (
            {
                "if": [
                    {"sem_ver": [{"var": ["version", "0.0.0"]}, ">=", "1.2.0"]},
                    {
                        "fractional": [
                            {"cat": [{"var": "$flagd.flagKey"}, {"var": "email"}]},
                            ["on", 1],
                        ]
                    },
                    {"in": ["@", {"var": ["email"]}]},
                    "off",
                ]
            },
            Targeting(
                (
                    TargetingRule(
                        Comparison(
                            Attribute("version", "0.0.0", is_list=True),
                            "sem_ver",
                            "1.2.0",
                            version_operator=">=",
                        ),
                        VariantSplit((VariantShare("on", 1),), EMAIL, has_flag_key=True),
                    ),
                    TargetingRule(
                        Comparison(Attribute("email", is_list=True), "in", "@", is_reversed=True),
                        "off",
                    ),
                )
            ),
        ),
    ],
)
def test_targeting_is_read_as_a_tree_and_written_back(
    targeting: dict[str, Any], tree: Targeting
) -> None:
    assert read(targeting) == tree
    assert write(tree) == targeting


@pytest.mark.parametrize(
    ("targeting", "path", "reason"),
    [
        (
            {"if": [{"==": [{"var": "a"}, {"var": "b"}]}, "on"]},
            "if[0].==",
            "does not compare one attribute with a constant",
        ),
        ({"if": [True, "on"]}, "if[0]", "is a constant where a condition is expected"),
        ({"if": [{"var": "a"}, "on"], "x": 1}, "", "is not an object with one operator"),
        (
            {"if": [{"==": [{"var": "a"}, 1]}, {"fractional": [["on"]], "x": 1}]},
            "if[1]",
            "is neither a variant nor a split",
        ),
        (
            {"fractional": [{"var": "a", "x": 1}, ["on"]]},
            "fractional[0].var",
            "is not the name of an attribute",
        ),
        (
            {"fractional": [{"cat": [{"var": "$flagd.flagKey"}, {"var": "a"}], "x": 1}, ["on"]]},
            "fractional[0]",
            "is neither an attribute nor the flag's key with one",
        ),
        (
            {"if": [{"var": "a"}, "on", {"if": [{"var": "b"}, "on"], "x": 1}]},
            "if[2]",
            "is neither a variant nor a split",
        ),
        (
            {"if": [{"<": [1, {"var": "a"}, [5]]}, "on"]},
            "if[0].<",
            "has no form for < with these arguments",
        ),
        ({"if": [{"var": "a"}, 1]}, "if[1]", "is neither a variant nor a split"),
        ({"if": [{"var": ""}, "on"]}, "if[0].var", "is not the name of an attribute"),
        (
            {"if": [{"var": "a"}, "x", {"var": "b"}, "y", {"if": [{"var": "c"}, "z"]}]},
            "if[4]",
            "mixes lists of branches with nested ones",
        ),
        (
            {"fractional": [["on", {"var": "weight"}], ["off", 1]]},
            "fractional[0]",
            "is not a variant with a whole number",
        ),
        (
            {"fractional": [{"cat": [{"var": "a"}, {"var": "b"}]}, ["on", 1]]},
            "fractional[0]",
            "is neither an attribute nor the flag's key with one",
        ),
    ],
)
def test_targeting_without_a_tree_names_the_part(
    targeting: dict[str, Any], path: str, reason: str
) -> None:
    assert read(targeting) == Advanced(path, reason)


NAMES = st.sampled_from(["email", "plan", "user.name", "$flagd.timestamp"])
TEXTS = st.text(max_size=4)
CONSTANTS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXTS
ATTRIBUTES = st.builds(Attribute, NAMES) | st.builds(
    Attribute, NAMES, st.just(UNSET) | CONSTANTS, is_list=st.just(True)
)
COMPARISONS = (
    st.builds(Comparison, ATTRIBUTES, st.none())
    | st.builds(
        Comparison,
        ATTRIBUTES,
        st.sampled_from(["==", "===", "!=", "!==", "<", "<=", ">", ">=", "in"]),
        CONSTANTS | st.lists(CONSTANTS, max_size=3),
        is_reversed=st.booleans(),
    )
    | st.builds(Comparison, ATTRIBUTES, st.sampled_from(["starts_with", "ends_with"]), TEXTS)
    | st.builds(
        Comparison,
        ATTRIBUTES,
        st.just("sem_ver"),
        st.just("1.2.3"),
        version_operator=st.sampled_from(["=", "~", ">="]),
    )
)
BETWEEN = st.builds(
    Comparison,
    ATTRIBUTES,
    st.sampled_from(["<", "<="]),
    st.lists(CONSTANTS, min_size=2, max_size=2),
    is_between=st.just(True),
)
CONDITIONS: st.SearchStrategy[Any] = st.recursive(
    COMPARISONS | BETWEEN | st.builds(SegmentReference, NAMES),
    lambda inner: (
        st.builds(
            ConditionGroup,
            st.sampled_from(["and", "or"]),
            st.lists(inner, min_size=1, max_size=3).map(tuple),
        )
        | st.builds(Negation, inner, is_list=st.booleans())
        | st.builds(DoubleNegation, inner, is_list=st.booleans())
    ),
    max_leaves=6,
)
VARIANTS = st.none() | st.booleans() | TEXTS
SHARES = st.builds(VariantShare, VARIANTS, st.just(UNSET) | st.integers(0, 100))
SHARE_LISTS = st.lists(SHARES, min_size=1, max_size=4).map(tuple)
SPLITS = st.builds(VariantSplit, SHARE_LISTS) | st.builds(
    VariantSplit, SHARE_LISTS, ATTRIBUTES, has_flag_key=st.booleans()
)
OUTCOMES = VARIANTS | SPLITS
RULES = st.builds(TargetingRule, CONDITIONS, OUTCOMES)
TREES = (
    st.builds(Targeting, otherwise=st.just(UNSET) | OUTCOMES)
    | st.builds(Targeting, shorthand=CONDITIONS)
    | st.builds(
        Targeting, st.lists(RULES, min_size=1, max_size=4).map(tuple), st.just(UNSET) | OUTCOMES
    )
    | st.builds(
        Targeting,
        st.lists(RULES, min_size=2, max_size=4).map(tuple),
        st.just(UNSET) | OUTCOMES,
        is_nested=st.just(True),
    )
)


@given(TREES)
def test_any_tree_is_read_back_from_its_targeting(tree: Targeting) -> None:
    assert read(write(tree)) == tree


@given(ANY_RULE | ANY_VALUE)
def test_any_targeting_is_restored_or_advanced(rule: Any) -> None:
    tree = read(rule)
    if isinstance(tree, Targeting):
        assert json.dumps(write(tree)) == json.dumps(rule)


@pytest.mark.skipif(not EXAMPLE.exists(), reason="flagd's example is not here")
def test_example_flags_all_have_a_tree() -> None:
    flags = json.loads(EXAMPLE.read_text())["flags"]
    targetings = [flag["targeting"] for flag in flags.values() if "targeting" in flag]
    assert len(targetings) == 4
    for targeting in targetings:
        tree = read(targeting)
        assert isinstance(tree, Targeting)
        assert json.dumps(write(tree)) == json.dumps(targeting)
