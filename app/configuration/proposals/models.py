"""A stored proposal and its events."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import msgspec

from app.configuration.changes.requests import AnyOperation
from app.configuration.proposals.requests import NewProposal
from app.configuration.proposals.states import Action, ProposalState

CREATED = "created"
COMMENTED = "commented"


class ProposalEvent(msgspec.Struct, frozen=True, kw_only=True):
    """What an actor did to a proposal. `environments` are those that it concerns."""

    id: int
    event: str
    version: int
    actor: str
    actor_name: str = ""
    environments: list[str]
    text: str
    at: datetime


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """A proposal as it is stored. Secrets in `operations` have the value null.

    `required` has the approvals that each environment needs, as of the last trial. `is_outdated`
    says that one of its environments was deleted.
    """

    id: int
    environments: Sequence[str]
    title: str
    message: str
    operations: Sequence[AnyOperation] = field(repr=False)
    version: int
    state: ProposalState
    author: str
    created_at: datetime
    updated_at: datetime
    apply_at: datetime | None
    expires_after_seconds: int | None
    scheduled_by: str | None
    reason: str | None
    required: Mapping[str, int]
    applied: Mapping[str, int] | None
    is_outdated: bool
    events: Sequence[ProposalEvent] = ()

    @property
    def approvals(self) -> Sequence[ProposalEvent]:
        """The approvals of this version. An edit makes a new version, so it ends them."""
        return [
            event
            for event in self.events
            if event.event == Action.APPROVE and event.version == self.version
        ]

    @property
    def authors(self) -> set[str]:
        """The actors that have written the proposal or a part of it."""
        return authors_of(self.events)


def authors_of(events: Sequence[ProposalEvent]) -> set[str]:
    """Return who created or edited a proposal."""
    return {event.actor for event in events if event.event in {CREATED, Action.EDIT}}


def proposal_of(row: Mapping[str, Any], events: Sequence[ProposalEvent]) -> Proposal:
    fields = dict(row)
    operations = msgspec.convert(fields.pop("operations"), list[AnyOperation])
    return Proposal(
        **{**fields, "state": ProposalState(fields["state"])}, operations=operations, events=events
    )


def environments_of(operations: Sequence[AnyOperation]) -> list[str]:
    return sorted({operation.environment or "" for operation in operations})


def unstored(body: NewProposal) -> Proposal:
    """Return a proposal that is not stored yet, for its trial."""
    now = datetime.now(UTC)
    return Proposal(
        id=0,
        environments=environments_of(body.operations),
        title=body.title,
        message=body.message,
        operations=body.operations,
        version=1,
        state=ProposalState.DRAFT,
        author="",
        created_at=now,
        updated_at=now,
        apply_at=None,
        expires_after_seconds=None,
        scheduled_by=None,
        reason=None,
        required={},
        applied=None,
        is_outdated=False,
    )
