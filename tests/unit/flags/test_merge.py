"""Merge two edits of a flag."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET

from app.evaluation.rule_reader import read
from app.evaluation.rule_tree import Targeting
from app.evaluation.rule_writer import write
from app.flags.merge import CHOICES, MergedDefinition, is_equal, merge
from tests.factories import flag
from tests.unit.evaluation.test_rule_tree import TREES


def rule(name: str, variant: str = "on") -> list[Any]:
    return [{"var": name}, variant]


def rules(*parts: list[Any], otherwise: str = "off") -> dict[str, Any]:
    return {"if": [*(item for part in parts for item in part), otherwise]}


A, B, C, D = map(rule, "abcd")
BASE = flag(defaultVariant="off", targeting=rules(A, B, C))


def merged(mine: Any, theirs: Any, **choices: Any) -> MergedDefinition:
    names = {name.replace("_", " "): choice for name, choice in choices.items()}
    return merge(BASE, BASE | mine, BASE | theirs, names)


@pytest.mark.parametrize(
    ("mine", "theirs", "expected"),
    [
        (
            {"state": "DISABLED"},
            {"defaultVariant": "on"},
            {"state": "DISABLED", "defaultVariant": "on"},
        ),
        (
            {"targeting": rules(rule("a", "off"), B, C)},
            {"targeting": rules(A, B, rule("c", "off"))},
            {"targeting": rules(rule("a", "off"), B, rule("c", "off"))},
        ),
        (
            {"targeting": rules(D, A, B, C)},
            {"targeting": rules(A, B, C, otherwise="on")},
            {"targeting": rules(D, A, B, C, otherwise="on")},
        ),
        (
            {"targeting": rules(A, C)},
            {"targeting": rules(A, B, C, D)},
            {"targeting": rules(A, C, D)},
        ),
        (
            {"variants": {"on": True, "off": False, "maybe": True}},
            {"variants": {"on": True, "off": False, "never": False}},
            {"variants": {"on": True, "off": False, "never": False, "maybe": True}},
        ),
        ({"metadata": {"owner": "a"}}, {}, {"metadata": {"owner": "a"}}),
        ({"state": "DISABLED"}, {"state": "DISABLED"}, {"state": "DISABLED"}),
    ],
)
def test_edits_of_different_parts_are_merged(mine: Any, theirs: Any, expected: Any) -> None:
    result = merged(mine, theirs)

    assert result.definition == BASE | expected
    assert not result.conflicts


def test_edits_of_one_rule_are_a_conflict_to_choose() -> None:
    mine = {"targeting": rules(A, rule("b", "off"), C)}
    theirs = {"targeting": rules(A, rule("e"), C)}

    result = merged(mine, theirs)
    [conflict] = result.conflicts
    assert conflict.part == "rule 2"
    assert result.definition == BASE | theirs

    assert merged(mine, theirs, rule_2="mine").definition == BASE | mine
    assert merged(mine, theirs, rule_2="theirs").definition == BASE | theirs


def test_rules_added_at_one_place_can_both_be_taken() -> None:
    mine, theirs = {"targeting": rules(A, B, C, D)}, {"targeting": rules(A, B, C, rule("e"))}

    [conflict] = merged(mine, theirs).conflicts
    assert (conflict.part, conflict.may_be_both) == ("rules after 3", True)

    both = merged(mine, theirs, rules_after_3="both")
    assert both.definition == BASE | {"targeting": rules(A, B, C, rule("e"), D)}


def test_targeting_without_a_tree_is_one_part() -> None:
    odd = {"if": [{"==": [1, 2]}, "on"]}

    [conflict] = merged({"targeting": odd}, {"targeting": rules(A)}).conflicts

    assert conflict.part == "targeting"
    assert conflict.mine == odd


def test_removed_member_against_an_edit_is_a_conflict() -> None:
    base = {**BASE, "metadata": {"owner": "a"}}

    result = merge(base, {**base, "metadata": {}}, {**base, "metadata": {"owner": "b"}}, {})

    [conflict] = result.conflicts
    assert (conflict.part, conflict.mine, conflict.theirs) == ("metadata owner", UNSET, "b")


VALUES = st.sampled_from([0, 1, True, "a", None])
DEFINITIONS = st.fixed_dictionaries(
    {},
    optional={
        "state": VALUES,
        "variants": st.dictionaries(st.sampled_from("abc"), VALUES, max_size=3),
        "metadata": st.dictionaries(st.sampled_from("abc"), VALUES, max_size=3) | VALUES,
        "targeting": TREES.map(write) | st.builds(rules, *[st.sampled_from([A, B, C, D])] * 3),
    },
)


@given(DEFINITIONS, DEFINITIONS)
def test_one_edit_alone_is_the_result(base: Any, edited: Any) -> None:
    for mine, theirs in ((base, edited), (edited, base), (edited, edited)):
        result = merge(base, mine, theirs, {})
        assert is_equal(result.definition, edited)
        assert not result.conflicts


@given(DEFINITIONS, DEFINITIONS, DEFINITIONS, st.sampled_from(CHOICES[:2]))
def test_choices_leave_no_conflict(base: Any, mine: Any, theirs: Any, choice: Any) -> None:
    first = merge(base, mine, theirs, {})
    choices = {conflict.part: choice for conflict in first.conflicts}

    second = merge(base, mine, theirs, choices)

    assert len(choices) == len(first.conflicts)
    assert not second.conflicts
    if choice == "theirs":
        assert is_equal(second.definition, first.definition)


@given(DEFINITIONS, DEFINITIONS, DEFINITIONS)
def test_merge_of_trees_gives_a_tree(base: Any, mine: Any, theirs: Any) -> None:
    sides = [side.get("targeting", {}) for side in (base, mine, theirs)]
    if all(isinstance(read(side), Targeting) for side in sides):
        assert isinstance(
            read(merge(base, mine, theirs, {}).definition.get("targeting", {})), Targeting
        )
