"""Flags are switched off, targeted and rolled out without harm to the rest of their definition."""

from decimal import Decimal
from typing import Any

import pytest

from app.errors import Invalid
from app.evaluation.validation import check_flag
from app.flags.condition_text import parse_condition
from app.flags.editing import add_rule, roll_out, serve_all, serves_all, variant_of

STAFF = parse_condition("email ends_with @example.org")
STAFF_RULE = {"ends_with": [{"var": "email"}, "@example.org"]}
FLAG: dict[str, Any] = {
    "state": "ENABLED",
    "variants": {"on": True, "off": False},
    "defaultVariant": "off",
    "owner": "shop",
}


def with_targeting(targeting: Any) -> dict[str, Any]:
    return {**FLAG, "targeting": targeting}


@pytest.mark.parametrize(
    ("percent", "attribute", "targeting"),
    [
        ("20", None, {"fractional": [["on", 20], ["off", 80]]}),
        ("0.5", None, {"fractional": [["on", 5], ["off", 995]]}),
        ("12.50", None, {"fractional": [["on", 125], ["off", 875]]}),
        ("100", None, {"if": ["on"]}),
        ("0", None, None),
        (
            "1E+1",
            "company",
            {
                "fractional": [
                    {"cat": [{"var": "$flagd.flagKey"}, {"var": "company"}]},
                    ["on", 10],
                    ["off", 90],
                ]
            },
        ),
    ],
)
def test_rollout_has_the_share_as_weights(
    percent: str, attribute: str | None, targeting: Any
) -> None:
    changed = roll_out(FLAG, "on", Decimal(percent), others="off", attribute=attribute)

    assert changed == (FLAG if targeting is None else with_targeting(targeting))
    assert list(check_flag(changed)) == []


def test_rollout_and_rule_leave_each_other() -> None:
    rolled_out = roll_out(FLAG, "on", Decimal(20), others="off")
    split = {"fractional": [["on", 20], ["off", 80]]}

    targeted = add_rule(rolled_out, STAFF, "on")
    twice = add_rule(targeted, parse_condition("country = DE"), "off", first=True)
    ended = roll_out(twice, "on", Decimal(100), others="off")

    german = {"==": [{"var": "country"}, "DE"]}
    assert targeted == with_targeting({"if": [STAFF_RULE, "on", split]})
    assert twice == with_targeting({"if": [german, "off", STAFF_RULE, "on", split]})
    assert ended == with_targeting({"if": [german, "off", STAFF_RULE, "on", "on"]})


def test_condition_alone_becomes_a_rule() -> None:
    variants = {"true": True, "false": False}
    flag = {**with_targeting(STAFF_RULE), "variants": variants}

    changed = add_rule(flag, parse_condition("beta"), "false", first=True)

    targeting = {"if": [{"var": "beta"}, "false", STAFF_RULE, True, False]}
    assert changed == {**flag, "targeting": targeting}


def test_switching_removes_rules_and_stays_enabled() -> None:
    flag = {**with_targeting({"if": [STAFF_RULE, "on"]}), "state": "DISABLED"}

    assert serve_all(flag, "off") == FLAG
    assert (serves_all(flag), serves_all(FLAG)) == (None, "off")
    assert serves_all(with_targeting({"if": [STAFF_RULE, "on"]})) is None
    assert variant_of(FLAG, "--variant", value=False) == "off"


@pytest.mark.parametrize(
    ("percent", "rule"),
    [
        ("-1", "between 0 and 100"),
        ("100.1", "between 0 and 100"),
        ("0.0001", "3 decimal places"),
        ("1E-999999999", "3 decimal places"),
        ("NaN", "between 0 and 100"),
    ],
)
def test_share_out_of_range_is_refused(percent: str, rule: str) -> None:
    with pytest.raises(Invalid, match=rule):
        roll_out(FLAG, "on", Decimal(percent), others="off")


def test_unknown_variant_and_other_forms_are_refused() -> None:
    computed = with_targeting({"if": [{"==": [{"var": "a"}, {"var": "b"}]}, "on"]})

    with pytest.raises(Invalid, match="one of on, off"):
        add_rule(FLAG, STAFF, "blue")
    with pytest.raises(Invalid, match=r"if\[0\]\.== does not compare"):
        roll_out(computed, "on", Decimal(1), others="off")
    texts = {"variants": {"a": "x", "b": "y"}, "defaultVariant": "b"}
    with pytest.raises(Invalid, match="--variant: must be given, because not exactly one of a, b "):
        variant_of(texts, "--variant", value=True)
    assert variant_of(texts, "--others", value=False) == "b"


def test_rule_that_is_there_stays_alone() -> None:
    once = add_rule(FLAG, STAFF, "on")

    assert add_rule(once, STAFF, "on", first=True) == once
