"""The JSON shapes of proposals in responses. A token sees only the parts of its environments."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

from app.access.actors import actor_names
from app.access.models import EVERY_ENVIRONMENT, Grant
from app.configuration.changes.approvals import Authority, missing_approvals
from app.configuration.changes.requests import AnyOperation
from app.configuration.proposals import approvals
from app.configuration.proposals.models import Proposal, ProposalEvent
from app.configuration.proposals.states import IN_REVIEW, ProposalState
from app.database import Connection, sql
from app.environments import service as environments
from app.environments.models import Environment
from app.http import wire


class ProposalSummary(msgspec.Struct, frozen=True, kw_only=True):
    """A proposal in a list.

    `version` counts its edits; an approval is of one version. `hidden_environments` is the number
    of its environments that the token is not for. `applied` has the revision in each environment.
    """

    id: int
    environments: list[str]
    hidden_environments: int
    title: str
    message: str
    state: ProposalState
    version: int
    author: str
    author_name: str = ""
    created_at: datetime
    updated_at: datetime
    apply_at: datetime | None
    expires_after_seconds: int | None
    scheduled_by: str | None
    scheduled_by_name: str | None = None
    reason: str | None
    applied: dict[str, int] | None
    operations_count: int


class EnvironmentApprovals(msgspec.Struct, frozen=True, kw_only=True):
    """The approvals in one environment: how many it needs and lacks, and whose count now.

    `approver_names` are in the order of `approvers`.
    """

    environment: str
    required: int
    missing: int
    approvers: list[str]
    approver_names: list[str] = []


class ProposalView(ProposalSummary, frozen=True, kw_only=True):
    """A proposal with its operations, approvals and events. A secret has the value null."""

    operations: list[AnyOperation]
    approvals: list[EnvironmentApprovals]
    events: list[ProposalEvent]


class ProposalPage(msgspec.Struct, frozen=True, kw_only=True):
    """A page of proposals, the latest first. `next` is the `before` of the next page, or null."""

    items: list[ProposalSummary]
    next: int | None


class ProposalEventData(msgspec.Struct, frozen=True, kw_only=True):
    """The data of a `proposal` event: what happened to a proposal, without its contents."""

    id: int
    proposal: int
    event: str
    version: int
    actor: str
    actor_name: str
    environments: list[str]
    at: datetime
    title: str
    state: ProposalState


async def view(connection: Connection, proposal: Proposal, grant: Grant) -> ProposalView:
    """Return what a token may see of a proposal."""
    names = _covered(proposal.environments, grant)
    fields = {name: getattr(proposal, name) for name in _STORED}
    fields["reason"] = _reason(proposal.state, proposal.reason, proposal.environments, grant)
    operations = [item for item in proposal.operations if item.environment in names]
    known = await actor_names(
        connection, [proposal.scheduled_by, *(event.actor for event in proposal.events)]
    )
    return ProposalView(
        **fields,
        author_name=known[proposal.author],
        scheduled_by_name=proposal.scheduled_by and known[proposal.scheduled_by],
        **_shown(proposal.environments, proposal.applied, grant),
        operations_count=len(operations),
        operations=operations,
        approvals=await _approvals(connection, proposal, names, known),
        events=[
            msgspec.structs.replace(
                event,
                actor_name=known[event.actor],
                environments=_covered(event.environments, grant),
                text=_reason(event.event, event.text, event.environments, grant) or "",
            )
            for event in proposal.events
            if any(map(grant.covers, event.environments))
        ],
    )


async def summaries(
    connection: Connection,
    grant: Grant,
    *,
    states: Sequence[ProposalState] | None,
    page_size: int,
    before: int = wire.LATEST,
    environment: str | None = None,
    author: str | None = None,
) -> list[ProposalSummary]:
    """Return the proposals that a token may read in part, the latest first. None matches all."""
    has_all = EVERY_ENVIRONMENT in grant.environments
    listed = sql.list_proposals(
        connection,
        before=before,
        states=states,
        environment=environment,
        author=author,
        visible=None if has_all else sorted(grant.environments),
        page_size=page_size,
    )
    rows = [row async for row in listed]
    actors = [actor for row in rows for actor in (row["author"], row["scheduled_by"])]
    names = await actor_names(connection, actors)
    return [_summary(row, names, grant) for row in rows]


def _summary(row: Mapping[str, Any], names: Mapping[str, str], grant: Grant) -> ProposalSummary:
    fields = {name: row[name] for name in _STORED} | {"state": ProposalState(row["state"])}
    fields["reason"] = _reason(row["state"], row["reason"], row["environments"], grant)
    return ProposalSummary(
        **fields,
        author_name=names[row["author"]],
        scheduled_by_name=row["scheduled_by"] and names[row["scheduled_by"]],
        **_shown(row["environments"], row["applied"], grant),
        operations_count=row["operations_count"],
    )


_STORED = (
    *("id", "title", "message", "state", "version", "author", "created_at", "updated_at"),
    *("apply_at", "expires_after_seconds", "scheduled_by", "reason"),
)


def _reason(state: str, reason: str | None, names: Any, grant: Grant) -> str | None:
    """Return a reason, without that of a failure if a hidden environment may have caused it."""
    if state == ProposalState.FAILED and not all(map(grant.covers, names)):
        return "The reason is shown to tokens for every environment of the proposal."
    return reason


def _shown(names: Any, applied: Mapping[str, int] | None, grant: Grant) -> dict[str, Any]:
    covered = _covered(names, grant)
    return {
        "environments": covered,
        "hidden_environments": len(names) - len(covered),
        "applied": applied and {name: applied[name] for name in covered if name in applied},
    }


def _covered(names: Any, grant: Grant) -> list[str]:
    return [name for name in names if grant.covers(name)]


async def _approvals(
    connection: Connection, proposal: Proposal, names: list[str], known: Mapping[str, str]
) -> list[EnvironmentApprovals]:
    """Return the approvals of a proposal in review. Later the history has those that counted."""
    if proposal.state not in IN_REVIEW:
        return []
    counted = await approvals.authorities(connection, proposal)
    existing = {item.name: item for item in await environments.list_all(connection)}
    return [
        _environment_approvals(existing[name], proposal.required.get(name, 0), counted[name], known)
        for name in names
        if name in existing
    ]


def _environment_approvals(
    environment: Environment, required: int, authority: Authority, known: Mapping[str, str]
) -> EnvironmentApprovals:
    protection = environment.protection if required else None
    approvers = sorted(authority.approvers)
    return EnvironmentApprovals(
        environment=environment.name,
        required=protection.approvals if protection is not None else 0,
        missing=missing_approvals(protection, authority) if protection is not None else 0,
        approvers=approvers,
        approver_names=[known[approver] for approver in approvers],
    )
