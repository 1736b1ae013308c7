"""A definition in words says who gets which variant."""

from typing import Any

import pytest
from hypothesis import given

from app.flags.wording import describe
from tests.unit.evaluation.rule_grammar import ANY_VALUE

EMAIL = {"var": "email"}


ADULT_TESTER = {"and": [{"var": "beta"}, {"<": [18, {"var": "age"}]}]}
HALVES = {"fractional": [["on"], ["off"]]}


@pytest.mark.parametrize(
    ("targeting", "lines"),
    [
        ({}, ["off for all"]),
        ({"if": ["on"]}, ["on for all"]),
        ({"==": [EMAIL, ""]}, ['true if email is "", else false']),
        ({"in": [EMAIL, ["a, b", "c"]]}, ['true if email is one of "a, b", c, else false']),
        ({"in": ["@", EMAIL]}, ["true if email contains @, else false"]),
        (
            {"if": [{"ends_with": [EMAIL, "@example.org"]}, "on"]},
            ["on if email ends with @example.org", "off for all others"],
        ),
        (
            {
                "if": [
                    {
                        "or": [
                            {"$ref": "staff"},
                            {"and": [{"var": "beta"}, {"<": [18, {"var": "age"}]}]},
                        ]
                    },
                    "on",
                    {"!": {"in": [{"var": "country"}, ["DE", "AT"]]}},
                    None,
                    {"fractional": [{"var": "company"}, ["on", 125], ["off", 875]]},
                ]
            },
            [
                "on if in segment staff or (beta is set and 18 < age)",
                "off if not (country is one of DE, AT)",
                "12.5 % on, 87.5 % off by company for all others",
            ],
        ),
        (
            {
                "if": [
                    {"sem_ver": [{"var": "app"}, "^", "2.0.0"]},
                    {"fractional": [["on"], ["off"]]},
                ]
            },
            ["50 % on, 50 % off by targetingKey if version app ^ 2.0.0", "off for all others"],
        ),
        (
            {"if": [{"==": [EMAIL, {"var": "owner"}]}, "on"]},
            ["the rules have no short form; read them as JSON"],
        ),
    ],
)
def test_flag_is_described_in_words(targeting: dict[str, Any], lines: list[str]) -> None:
    flag = {"state": "ENABLED", "defaultVariant": "off", "targeting": targeting}

    assert list(describe(flag)) == lines


@given(ANY_VALUE)
def test_any_stored_value_is_described(value: Any) -> None:
    lines = list(describe(value)) + list(describe({"targeting": value, "defaultVariant": value}))

    assert all(lines)


def test_flag_without_a_value_is_described() -> None:
    assert list(describe({"state": "ENABLED"})) == ["no value for all"]
    assert list(describe({"state": "DISABLED", "defaultVariant": "on"})) == [
        "disabled: each program uses the default in its own code"
    ]
