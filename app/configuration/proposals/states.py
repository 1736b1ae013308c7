"""The states of a proposal, and which action is possible in which state."""

from enum import StrEnum

from app.errors import Conflict


class ProposalState(StrEnum):
    DRAFT = "draft"
    OPEN = "open"
    APPROVED = "approved"
    SCHEDULED = "scheduled"
    APPLIED = "applied"
    FAILED = "failed"
    REJECTED = "rejected"
    WITHDRAWN = "withdrawn"


class Action(StrEnum):
    EDIT = "edited"
    SUBMIT = "submitted"
    APPROVE = "approved"
    REJECT = "rejected"
    SCHEDULE = "scheduled"
    UNSCHEDULE = "unscheduled"
    APPLY = "applied"
    FAIL = "failed"
    WITHDRAW = "withdrawn"


# Proposals that can still be applied or edited. Only these have the values of their secrets.
UNDECIDED = frozenset(ProposalState) - {ProposalState.APPLIED, ProposalState.WITHDRAWN}
# Proposals that reviewers see. `approved` means that no approval is missing.
IN_REVIEW = (ProposalState.OPEN, ProposalState.APPROVED, ProposalState.SCHEDULED)
# An edit makes these a draft.
_EDITABLE = (ProposalState.DRAFT, ProposalState.FAILED, ProposalState.REJECTED)

# The next state. The service turns `open` into `approved` when no approval is missing.
_NEXT: dict[Action, dict[ProposalState, ProposalState]] = {
    Action.EDIT: {
        **dict.fromkeys(IN_REVIEW, ProposalState.OPEN),
        **dict.fromkeys(_EDITABLE, ProposalState.DRAFT),
    },
    Action.SUBMIT: {ProposalState.DRAFT: ProposalState.OPEN},
    Action.APPROVE: {
        ProposalState.OPEN: ProposalState.OPEN,
        ProposalState.APPROVED: ProposalState.OPEN,
        ProposalState.SCHEDULED: ProposalState.SCHEDULED,
    },
    Action.REJECT: dict.fromkeys(IN_REVIEW, ProposalState.REJECTED),
    Action.SCHEDULE: dict.fromkeys(IN_REVIEW, ProposalState.SCHEDULED),
    Action.UNSCHEDULE: {ProposalState.SCHEDULED: ProposalState.OPEN},
    Action.APPLY: dict.fromkeys(IN_REVIEW, ProposalState.APPLIED),
    Action.FAIL: {ProposalState.SCHEDULED: ProposalState.FAILED},
    Action.WITHDRAW: dict.fromkeys(UNDECIDED, ProposalState.WITHDRAWN),
}
_ADVICE = {
    ProposalState.DRAFT: "Submit it first.",
    ProposalState.FAILED: "Edit it, and submit it again.",
    ProposalState.REJECTED: "Edit it, and submit it again.",
    ProposalState.APPLIED: "Create a new proposal.",
    ProposalState.WITHDRAWN: "Create a new proposal.",
}


def possible(action: Action, state: ProposalState) -> bool:
    return state in _NEXT[action]


def after(action: Action, state: ProposalState) -> ProposalState:
    """Return the state after an action. Raises Conflict when it is not possible."""
    next_state = _NEXT[action].get(state)
    if next_state is None:
        advice = _ADVICE.get(state, "")
        raise Conflict(
            "proposal_state", f"The proposal is {state} and cannot be {action}. {advice}".rstrip()
        )
    return next_state
