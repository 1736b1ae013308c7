"""The rules of an environment: recompilation and digest."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.evaluation.engine import ErrorCode
from app.evaluation.ruleset import Rule, Ruleset
from tests.unit.evaluation.rules import NOW, var

Put = tuple[str, bool, Any, str]
KEYS = st.sampled_from("abcd")
CHANGES = st.lists(
    st.dictionaries(KEYS, st.none() | st.tuples(st.booleans(), st.integers(0, 3))), max_size=6
)


def switch(segment: str) -> dict[str, Any]:
    """Return a flag that is on for a segment."""
    return {
        "state": "ENABLED",
        "variants": {"on": 1, "off": 0},
        "defaultVariant": "off",
        "targeting": {"if": [{"$ref": segment}, "on"]},
    }


def put_flag(key: str, segment: str, state: str = "1") -> Rule:
    return Rule(key=key, is_segment=False, value=switch(segment), state=state)


def put_segment(key: str, value: Any, state: str = "1") -> Rule:
    return Rule(key=key, is_segment=True, value=value, state=state)


def rules(*put: Rule, fractional: str = "v3", metadata: Mapping[str, Any] | None = None) -> Ruleset:
    return Ruleset(fractional=fractional, metadata=metadata or {}).with_changes(put, [])


RULES = (
    put_flag("adults", "adult"),
    put_flag("germans", "german"),
    put_flag("others", "other"),
    put_segment("adult", {">=": [var("age"), 18]}),
    put_segment("german", {"and": [{"$ref": "adult"}, {"==": [var("country"), "DE"]}]}),
    put_segment("other", True),
)


def recompiled(before: Ruleset, after: Ruleset) -> set[str]:
    return {key for key in after.flags if after.flags[key] is not before.flags.get(key)}


def variant(of: Ruleset, key: str, context: Mapping[str, Any]) -> str | None:
    return of.flags[key].evaluate(context, NOW).outcome.variant


def test_unchanged_flag_stays_compiled() -> None:
    before = rules(*RULES)

    after = before.with_changes([put_flag("others", "other", "2"), put_flag("new", "other")], [])

    assert recompiled(before, after) == {"others", "new"}
    assert list(after.flags) == ["adults", "germans", "new", "others"]
    assert list(before.flags) == ["adults", "germans", "others"]


def test_changed_segment_recompiles_its_users() -> None:
    before = rules(*RULES)

    after = before.with_changes([put_segment("adult", {">=": [var("age"), 21]}, "2")], [])

    assert recompiled(before, after) == {"adults", "germans"}
    person = {"age": 20, "country": "DE"}
    assert [variant(before, key, person) for key in before.flags] == ["on", "on", "on"]
    assert [variant(after, key, person) for key in after.flags] == ["off", "off", "on"]


def test_segment_added_after_flags_recompiles_them() -> None:
    person = {"age": 20, "country": "DE"}
    for order in itertools.permutations(RULES[:2] + RULES[3:5]):
        arriving = rules()
        for rule in order:
            arriving = arriving.with_changes([rule], [])
        assert [variant(arriving, key, person) for key in arriving.flags] == ["on", "on"]

        without = arriving.with_changes([], ["adult"])
        failed = [flag.evaluate(person, NOW).outcome for flag in without.flags.values()]
        assert [outcome.error_code for outcome in failed] == [ErrorCode.PARSE_ERROR] * 2


def test_key_of_another_kind_is_replaced() -> None:
    before = rules(*RULES)

    after = before.with_changes([put_segment("others", False), put_flag("adult", "others")], [])

    assert list(after.flags) == ["adult", "adults", "germans"]
    assert variant(after, "adult", {}) == "off"
    assert after.flags["adults"].evaluate({}, NOW).outcome.error_code is ErrorCode.PARSE_ERROR


@pytest.mark.parametrize("other", [1, 1.0, "1"])
def test_metadata_true_and_one_differ(other: object) -> None:
    before = rules(*RULES, metadata={"beta": True})

    after = before.with_settings("v3", {"beta": other})

    metadata = after.flags["others"].evaluate({}, NOW).outcome.metadata or {}
    assert metadata["beta"] is not True
    assert after.digest != before.digest


def test_other_generation_or_metadata_recompiles_all() -> None:
    before = rules(*RULES)

    for after in (before.with_settings("v2", {}), before.with_settings("v3", {"team": "x"})):
        assert recompiled(before, after) == set(before.flags)
        assert after.digest != before.digest
    assert after.flags["others"].evaluate({}, NOW).outcome.metadata == {"team": "x"}
    assert before.with_settings("v3", {}) is before
    assert before.with_settings("v2", {}).with_settings("v3", {}).digest == before.digest


def test_change_without_rules_returns_same_ruleset() -> None:
    before = rules(*RULES)

    assert before.with_changes([], ["a/setting"]) is before


def test_ruleset_with_clock_uses_time() -> None:
    before = rules(*RULES)
    later = put_segment("other", {">": [var("$flagd.timestamp"), NOW]}, "2")

    after = before.with_changes([later], [])

    assert not before.uses_time
    assert after.uses_time
    assert after.with_settings("v2", {}).uses_time
    assert not after.with_changes([], ["others"]).uses_time


# The digest


@given(order=st.permutations(RULES), at_once=st.integers(1, 6))
def test_digest_does_not_depend_on_order(order: Sequence[Rule], at_once: int) -> None:
    ruleset = rules()
    for start in range(0, len(order), at_once):
        ruleset = ruleset.with_changes(order[start : start + at_once], [])

    assert ruleset.digest == rules(*RULES).digest
    assert list(ruleset.flags) == list(rules(*RULES).flags)


def test_digest_of_restored_rule_is_the_same() -> None:
    before = rules(*RULES)

    gone = before.with_changes([], ["others", "adult"])
    back = gone.with_changes([RULES[2]], []).with_changes([RULES[3]], [])

    assert gone.digest != before.digest
    assert back.digest == before.digest


@pytest.mark.parametrize(
    "other",
    [put_flag("adults", "adult", "2"), put_segment("adults", 1), put_flag("adults2", "adult")],
)
def test_digest_covers_state_kind_and_key(other: Rule) -> None:
    assert rules(put_flag("adults", "adult")).digest != rules(other).digest


@given(changes=CHANGES)
def test_changed_ruleset_equals_ruleset_built_at_once(
    changes: list[dict[str, tuple[bool, int] | None]],
) -> None:
    ruleset = rules()
    state: dict[str, Rule] = {}
    for change in changes:
        put = [
            put_segment(key, {"$ref": "abcd"[n]} if n else True, f"{n}")
            if is_segment
            else put_flag(key, "abcd"[n], f"{n}")
            for key, (is_segment, n) in ((k, c) for k, c in change.items() if c is not None)
        ]
        gone = [key for key, content in change.items() if content is None]
        ruleset = ruleset.with_changes(put, gone)
        state = {key: rule for key, rule in state.items() if key not in gone}
        state |= {rule.key: rule for rule in put}

    fresh = rules(*state.values())

    assert ruleset.digest == fresh.digest
    assert list(ruleset.flags) == list(fresh.flags)
    for key, flag in ruleset.flags.items():
        assert flag.evaluate({}, NOW).body == fresh.flags[key].evaluate({}, NOW).body
    assert bodies(ruleset) == bodies(fresh)


def bodies(of: Ruleset) -> list[bytes]:
    parts = of.bulk.evaluate({"country": "DE", "age": 20}, NOW)
    return sorted(
        body for part in parts for body in (part if isinstance(part, list) else part.bodies)
    )


def test_change_does_not_replan_other_flags() -> None:
    many = [put_flag(f"flag-{number}", "german") for number in range(2_000)]
    before = rules(put_segment("german", {"==": [var("country"), "DE"]}), *many)
    # An empty list is a pause, and equals every other.
    parts = [part for part in before.bulk.evaluate({"country": "DE"}, NOW) if part != []]

    after = before.with_changes([put_flag("flag-7", "absent", state="2")], ["flag-8"])

    # The two are in one section or in two, of eight.
    assert len(parts) == 8
    shared = [part for part in after.bulk.evaluate({"country": "DE"}, NOW) if part in parts]
    assert len(shared) in {6, 7}
    assert bodies(after) == sorted(
        flag.evaluate({"country": "DE"}, NOW).body for flag in after.flags.values()
    )
