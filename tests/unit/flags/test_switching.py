"""The switch of a flag: off for all, and on again as before."""

import pytest

from app.errors import Invalid
from app.flags.editing import Definition
from app.flags.switching import switched_off, switched_on

RULES = {"if": [{"==": [{"var": "plan"}, "pro"]}, "on"]}
FLAG: Definition = {
    "state": "ENABLED",
    "variants": {"on": True, "off": False},
    "defaultVariant": "off",
    "targeting": RULES,
    "metadata": {"owner": "search"},
}
OFF = {name: value for name, value in FLAG.items() if name != "targeting"}


def test_switched_off_serves_the_false_variant_without_rules() -> None:
    assert switched_off({**FLAG, "defaultVariant": "on", "state": "DISABLED"}) == OFF


def test_switched_off_serves_the_default_of_texts() -> None:
    texts = {**FLAG, "variants": {"a": "a", "b": "b"}, "defaultVariant": "b"}

    assert switched_off(texts)["defaultVariant"] == "b"
    assert switched_off(texts, "a")["defaultVariant"] == "a"


def test_switched_off_without_default_asks_for_a_variant() -> None:
    texts = {"state": "ENABLED", "variants": {"a": "a", "b": "b"}}

    with pytest.raises(Invalid, match="variant: must be given"):
        switched_off(texts)


def test_switched_on_restores_the_earlier_rules() -> None:
    assert switched_on(OFF, FLAG) == FLAG


def test_switched_on_without_earlier_rules_serves_true() -> None:
    assert switched_on(OFF, None) == {**OFF, "defaultVariant": "on"}


def test_switched_on_retains_the_rules_of_a_disabled_flag() -> None:
    assert switched_on({**FLAG, "state": "DISABLED"}, None) == FLAG


@pytest.mark.parametrize("switched", [switched_off(FLAG), switched_on(OFF, FLAG)])
def test_switch_removes_the_plan(switched: Definition) -> None:
    plan = {"name": "launch", "steps": [{"at": "2026-12-01T00:00:00Z", "state": "ENABLED"}]}
    planned = {**(FLAG if switched == OFF else OFF), "plan": plan}

    assert switched == (switched_off(planned) if switched == OFF else switched_on(planned, FLAG))


NEEDS: Definition = {"prerequisites": [{"flag": "a", "variant": "on"}], "offVariant": "off"}


def test_switched_off_keeps_prerequisites_that_change_nothing() -> None:
    off = switched_off({**FLAG, **NEEDS})

    assert off == {**OFF, **NEEDS}
    assert switched_on(off, {**FLAG, **NEEDS}) == {**FLAG, **NEEDS}
    assert switched_on(off, None) == {**OFF, **NEEDS, "defaultVariant": "on"}


def test_switched_off_removes_prerequisites_of_another_variant() -> None:
    needs = {**NEEDS, "offVariant": "on"}

    off = switched_off({**FLAG, **needs})

    assert off == OFF
    assert switched_on(off, {**FLAG, **needs}) == {**FLAG, **needs}
