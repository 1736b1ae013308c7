"""The checker of proposals finds a violation of each rule."""

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from tests.process.history.past import Past
from tests.process.history.people import PROTECTING
from tests.process.history.proposal_rules import check_proposals
from tests.process.history.records import (
    Action,
    Approval,
    Change,
    ChangeSet,
    Entry,
    Final,
    FinalProposal,
    ProposalEvent,
    ProposedChange,
)
from tests.process.history.wishes import PROTECTED

_DUE = 100.0


def _events(*names: str) -> tuple[ProposalEvent, ...]:
    """Return the events of the first version; "approved b" names its actor."""
    events = []
    for text in names:
        name, _, actor = text.partition(" ")
        events.append(ProposalEvent(name, actor or "a", 1))
    return tuple(events)


_APPROVED = ("created", "submitted", "approved b", "approved c")
BY_HAND = FinalProposal(
    id=1,
    state="applied",
    version=1,
    author="a",
    operations=(ProposedChange("x", 0, "new"),),
    events=_events(*_APPROVED, "applied b"),
    applied={PROTECTED: 2},
)
SCHEDULED = FinalProposal(
    id=2,
    state="applied",
    version=1,
    author="a",
    operations=(ProposedChange("x", 1, None),),
    events=_events(*_APPROVED, "scheduled b", "applied b"),
    apply_at=_DUE,
    expires_after_seconds=5,
    applied={PROTECTED: 3},
)
FAILED = FinalProposal(
    id=3,
    state="failed",
    version=1,
    author="a",
    operations=(ProposedChange("x", 7, "never"),),
    events=_events(*_APPROVED, "scheduled b", "failed b"),
    apply_at=_DUE,
    expires_after_seconds=5,
    reason="The proposal is out of date.",
)
PROPOSALS = (BY_HAND, SCHEDULED, FAILED)
NEW, GONE = (
    ChangeSet(
        2,
        "1",
        (Change("x", None, Entry(1, "new")),),
        kind="proposal",
        at=50.0,
        approval=Approval(1, ("b", "c")),
    ),
    ChangeSet(
        3,
        "2",
        (Change("x", Entry(1, "new"), None),),
        kind="proposal",
        at=_DUE + 1,
        approval=Approval(2, ("b", "c")),
    ),
)
PROTECTION = ChangeSet(1, PROTECTING, (), Change("", Entry(1, {}), Entry(2, {})))
CHANGE_SETS = (PROTECTION, NEW, GONE)


def _action(kind: str, status: int = 200, **members: Any) -> Action:
    fields: dict[str, Any] = {"actor": "b", "proposal": 1, "version": 1, "started": 1, "ended": 2}
    return Action(kind=kind, status=status, **fields | members)


ACTIONS = (
    _action("create", 201, actor="a"),
    _action("approve"),
    _action("approve", 0, actor="c"),
    _action("apply", applied={PROTECTED: 2}),
    _action("apply", 409),
    _action("write", 409, proposal=0),
    _action("schedule", proposal=2),
)


def _names(
    actions: Sequence[Action] = ACTIONS,
    proposals: Sequence[FinalProposal] = PROPOSALS,
    change_sets: tuple[ChangeSet, ...] = CHANGE_SETS,
) -> set[str]:
    final = Final(
        environment=PROTECTED,
        epoch="e",
        revision=len(change_sets),
        change_sets=change_sets,
        entries={},
        properties=Entry(2, {}),
        reported=change_sets,
        served={},
        streams={},
    )
    violated = check_proposals(actions, proposals, {PROTECTED: Past(final)})
    return {violation.name for violation in violated}


def test_history_that_keeps_all_promises_has_no_violation() -> None:
    assert _names() == set()


@pytest.mark.parametrize(
    ("action", "names"),
    [
        (_action("apply", applied={PROTECTED: 9}), {"apply_lost"}),
        (_action("apply", proposal=3, applied={PROTECTED: 4}), {"apply_lost", "action_lost"}),
        (_action("create", 201, proposal=8, actor="a"), {"action_lost"}),
        (_action("approve", actor="d"), {"action_lost"}),
        (_action("edit", version=2), {"action_lost"}),
        (_action("reject"), {"action_lost"}),
        (_action("withdraw"), {"action_lost"}),
        (_action("schedule"), {"action_lost"}),
        (_action("unschedule", proposal=2), {"action_lost"}),
        (_action("write", proposal=0), {"applied_unapproved"}),
        (_action("approve", 500), {"answer_unexpected"}),
    ],
)
def test_answer_that_does_not_hold_is_a_violation(action: Action, names: set[str]) -> None:
    assert _names(actions=[*ACTIONS, action]) == names


@pytest.mark.parametrize(
    ("position", "changes", "names"),
    [
        (0, {"state": "approved", "applied": None}, {"mark_differs"}),
        (0, {"state": "withdrawn"}, {"mark_differs"}),
        (0, {"applied": {PROTECTED: 9}}, {"mark_differs"}),
        (0, {"events": _events(*_APPROVED, "applied b", "applied c")}, {"applied_twice"}),
        (0, {"events": _events(*_APPROVED[:3], "applied b")}, {"applied_unapproved"}),
        (0, {"author": "c"}, {"applied_unapproved"}),
        (0, {"events": _events(*_APPROVED, "edited c", "applied b")}, {"applied_unapproved"}),
        (0, {"version": 2}, {"applied_unapproved"}),
        (0, {"operations": (ProposedChange("x", 3, "new"),)}, {"applied_stale"}),
        (0, {"operations": (ProposedChange("x", 0, "other"),)}, {"applied_stale"}),
        (0, {"operations": (*BY_HAND.operations, ProposedChange("y", 0, 1))}, {"applied_stale"}),
        (1, {"apply_at": _DUE + 2}, {"applied_out_of_time"}),
        (1, {"apply_at": _DUE - 6}, {"applied_out_of_time"}),
        (2, {"state": "scheduled", "reason": None}, {"schedule_lost"}),
        (2, {"reason": None}, {"failed_without_reason"}),
        (2, {"state": "applied", "applied": {PROTECTED: 4}}, {"mark_differs"}),
    ],
)
def test_proposal_that_ends_wrongly_is_a_violation(
    position: int, changes: dict[str, Any], names: set[str]
) -> None:
    proposals = list(PROPOSALS)
    proposals[position] = msgspec.structs.replace(proposals[position], **changes)

    assert _names(ACTIONS if position else [], proposals) == names


@pytest.mark.parametrize(
    ("more", "names"),
    [
        (msgspec.structs.replace(NEW, revision=4), {"applied_twice"}),
        (msgspec.structs.replace(NEW, revision=4, approval=None), {"applied_unapproved"}),
        (
            msgspec.structs.replace(NEW, revision=4, approval=Approval(9, ("b", "c"))),
            {"applied_unapproved"},
        ),
    ],
)
def test_change_set_too_many_is_a_violation(more: ChangeSet, names: set[str]) -> None:
    assert _names(change_sets=(*CHANGE_SETS, more)) == names


def test_approvers_that_did_not_approve_are_a_violation() -> None:
    forged = msgspec.structs.replace(NEW, approval=Approval(1, ("b", "d")))

    assert _names(change_sets=(PROTECTION, forged, GONE)) == {"applied_unapproved"}


def test_scheduled_proposal_may_be_applied_by_hand_earlier() -> None:
    early = msgspec.structs.replace(GONE, at=_DUE - 50)
    by_hand = _action("apply", 0, proposal=2)

    assert _names([*ACTIONS, by_hand], change_sets=(PROTECTION, NEW, early)) == set()
    assert _names(change_sets=(PROTECTION, NEW, early)) == {"applied_out_of_time"}
