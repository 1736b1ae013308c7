"""The editor of a plan: from the stored plan to the fields, and back."""

from typing import Any

import pytest

from app.console.plan.draft import DraftStep, draft_of, errors_of, plan_of
from app.errors import Invalid, Violation
from tests.factories import flag

STEPS: list[dict[str, Any]] = [
    {"at": "2026-12-01T09:00:00Z", "state": "ENABLED", "defaultVariant": None},
    {"at": "2026-12-01T12:00:30Z", "rollout": {"variant": "on", "percent": 0.5}, "skipped": True},
    {
        "at": "2026-12-02T12:00:00Z",
        "rollout": {"variant": "on", "percent": 50},
        "hold": "approval",
        "resumed": {"at": "2026-12-02T13:00:00Z", "percent": 12.5},
    },
    {"at": "2026-12-03T12:00:00Z", "targeting": {"if": [True, "on"]}, "hold": 30},
]
PLAN: dict[str, Any] = {
    "name": "launch",
    "steps": STEPS,
    "linear": False,
    "pausedAt": "2026-12-02T13:00:00Z",
}


def test_unedited_draft_is_the_stored_plan() -> None:
    assert plan_of(draft_of(flag(plan=PLAN), 3)) == PLAN


def test_times_without_a_zone_are_in_utc() -> None:
    draft = draft_of(flag(plan=PLAN), 3)
    for step in draft.steps:
        # As a browser sends them without JavaScript.
        step.at = step.at.removesuffix("Z").removesuffix(":00")
        step.variant = step.variant or "on"

    assert plan_of(draft) == PLAN


def test_edited_step_retains_members_without_a_field() -> None:
    draft = draft_of(flag(plan=PLAN), 3)
    draft.steps[2].percent, draft.steps[2].hold = " 60 %", ""
    draft.steps[3].hold, draft.steps[3].minutes = "minutes", "5"
    draft.linear = True

    plan = plan_of(draft)

    assert plan["linear"] is True
    assert plan["steps"][2] == {
        "at": "2026-12-02T12:00:00Z",
        "rollout": {"variant": "on", "percent": 60},
        "resumed": {"at": "2026-12-02T13:00:00Z", "percent": 12.5},
    }
    assert plan["steps"][3]["targeting"] == {"if": [True, "on"]}
    assert plan["steps"][3]["hold"] == 5


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("plan.steps[1].at", "steps.1.at"),
        ("operations[0].value.plan.steps[1].rollout.percent", "steps.1.percent"),
        ("operations[0].value.plan.steps[1].rollout", "steps.1.percent"),
        ("plan.steps[12].rollout.variant", "steps.12.variant"),
        ("plan.steps[0].defaultVariant", "steps.0.default"),
        ("plan.steps[0].targeting.if[0].var", "steps.0.targeting"),
        ("plan.steps[0]", "steps.0"),
        ("plan.steps", "steps"),
        ("shop/checkout.plan.steps", "steps"),
        ("plan.name", "name"),
        ("confirmation", "confirmation"),
    ],
)
def test_path_of_the_api_leads_to_its_field(path: str, field: str) -> None:
    error = Invalid.of("operations_invalid", [Violation(path, "is bad")])

    assert errors_of(error).by_field == {field: ["is bad"]}


@pytest.mark.parametrize("value", [None, 1, "x", {}, {"plan": 1}, {"plan": {"steps": [{}]}}])
def test_unreadable_plan_is_an_empty_draft(value: Any) -> None:
    assert draft_of(value, 1).steps == []


def test_text_that_is_no_number_is_left_to_the_checks() -> None:
    draft = draft_of(flag(), 1)
    draft.steps = [DraftStep(at="soon", percent="ten", variant="on")]

    assert plan_of(draft)["steps"] == [
        {"at": "soon", "rollout": {"variant": "on", "percent": "ten"}}
    ]
