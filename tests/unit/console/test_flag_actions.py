"""The buttons of the flag editor."""

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.console.flag.actions import act
from app.console.flag.definition import definition_of
from app.console.flag.draft_reader import draft_of
from app.errors import Invalid, Malformed
from tests.factories import flag

A, B, C = ({"var": name} for name in "abc")
GROUP = {"or": [A, {"and": [B, C]}]}
SPLIT = {"fractional": [["on", 1], ["off", 3]]}
BASE = flag(defaultVariant="off", targeting={"if": [A, "on", GROUP, SPLIT]})


def after(*actions: str) -> Any:
    draft = draft_of(BASE, None, 1)
    for action in actions:
        act(draft, action)
    return definition_of(draft, BASE).definition


@pytest.mark.parametrize(
    ("actions", "targeting"),
    [
        (["up rules.1"], {"if": [GROUP, SPLIT, A, "on"]}),
        (["down rules.0", "up rules.1"], {"if": [A, "on", GROUP, SPLIT]}),
        (["up rules.0"], {"if": [A, "on", GROUP, SPLIT]}),
        (["move rules.1 0"], {"if": [GROUP, SPLIT, A, "on"]}),
        (["remove rules.1"], {"if": [A, "on"]}),
        (["copy rules.0"], {"if": [A, "on", A, "on", GROUP, SPLIT]}),
        (
            ["remove rules.1.condition.conditions.1.conditions.0"],
            {"if": [A, "on", {"or": [A, C]}, SPLIT]},
        ),
        (["remove rules.1.condition.conditions.1"], {"if": [A, "on", A, SPLIT]}),
        (
            ["equal rules.1.outcome"],
            {"if": [A, "on", GROUP, {"fractional": [["on", 50], ["off", 50]]}]},
        ),
        (
            ["add-part rules.1.outcome", "remove rules.1.outcome.shares.2"],
            {"if": [A, "on", GROUP, SPLIT]},
        ),
    ],
)
def test_button_changes_the_rules(actions: list[str], targeting: Any) -> None:
    assert after(*actions)["targeting"] == targeting


@pytest.mark.parametrize(
    ("action", "focus"),
    [
        ("add rules", "rules.2.condition.attribute"),
        ("add rules.0.condition", "rules.0.condition.conditions.1.attribute"),
        ("add rules.1.condition", "rules.1.condition.conditions.2.attribute"),
        ("add-segment rules.1.condition", "rules.1.condition.conditions.2.segment"),
        ("add-group rules.0.condition", "rules.0.condition.conditions.1.conditions.0.attribute"),
        ("add-part rules.1.outcome", "rules.1.outcome.shares.2.percent"),
        ("add variants", "variants.2.name"),
        ("add metadata", "metadata.0.name"),
    ],
)
def test_added_part_gets_the_focus(action: str, focus: str) -> None:
    assert act(draft_of(BASE, None, 1), action).focus == focus


@pytest.mark.parametrize("variant", [0, 1])
def test_variant_in_use_is_not_removed(variant: int) -> None:
    with pytest.raises(Invalid, match=r"cannot be removed, because .*rule"):
        after(f"remove variants.{variant}")


def test_unused_variant_is_removed() -> None:
    draft = draft_of(flag(variants={"on": True, "off": False, "old": True}), None, 1)

    act(draft, "remove variants.2")

    assert [variant.name for variant in draft.variants] == ["on", "off"]


PARTS = ["rules", "condition", "conditions", "outcome", "shares", "variants", "metadata", "uid"]
VERBS = ["add", "add-part", "remove", "up", "move", "copy", "equal", "check"]
WORDS = st.sampled_from([*VERBS, *PARTS, "0", "1", "-1", "²", ".", "otherwise", "__class__"])


@given(st.lists(WORDS | st.just(" "), max_size=8).map("".join))
def test_any_other_action_is_refused(action: str) -> None:
    draft = draft_of(BASE, None, 1)
    with suppress(Malformed, Invalid):
        act(draft, action)
    definition_of(draft, BASE)
