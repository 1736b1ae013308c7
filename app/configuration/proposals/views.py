"""The JSON shapes of proposals in responses. A caller sees only the parts of their own keys."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

from app.access.actors import actor_names
from app.access.models import Scope
from app.access.people.rights import NO_RIGHTS
from app.access.permissions import Rights
from app.configuration.changes.approvals import missing_approvals
from app.configuration.changes.authority import Authority
from app.configuration.changes.requests import AnyOperation
from app.configuration.proposals import approvals
from app.configuration.proposals.models import Proposal, ProposalEvent, keys_in
from app.configuration.proposals.parts import readable_prefixes, visible_part
from app.configuration.proposals.reviewers import Reviewer, who_may_approve
from app.configuration.proposals.states import IN_REVIEW, ProposalState
from app.configuration.proposals.store import unknown_proposal
from app.database import Connection, sql
from app.environments import service as environments
from app.environments.models import Environment
from app.http import wire
from app.settings import Secret


class ProposalSummary(msgspec.Struct, frozen=True, kw_only=True):
    """A proposal in a list.

    `version` counts its edits; an approval is of one version. `hidden_environments` is the number
    of its environments where the token may read no key. `is_partial` is true if it has keys that
    the token may not read. `applied` has the revision in each environment.
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
    # Stored responses of earlier releases lack it.
    is_partial: bool = False


class MissingApprovals(msgspec.Struct, frozen=True, kw_only=True):
    """Keys that need the same number of further approvals, and have the same reviewers.

    An empty key stands for the properties. `reviewers` has at most 20 names.
    """

    keys: list[str]
    missing: int
    reviewers: list[str] = []


class EnvironmentApprovals(msgspec.Struct, frozen=True, kw_only=True):
    """The approvals in one environment: how many it needs and lacks, and whose count now.

    `approver_names` are in the order of `approvers`. An approver counts for the keys that they may
    approve. `missing` is the most that a key lacks,
    and `lacking` has the keys that lack any.
    """

    environment: str
    required: int
    missing: int
    approvers: list[str]
    approver_names: list[str] = []
    lacking: list[MissingApprovals] = []


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


async def view(
    connection: Connection,
    key: Secret,
    proposal: Proposal,
    rights: Rights,
    reviewers: Sequence[Reviewer] = (),
) -> ProposalView:
    """Return the part of a proposal that the caller may read. Raises NotFound without one.

    `key` is that of the MACs of people and grants. `reviewers` are those to name.
    """
    part = visible_part(proposal, rights)
    if part is None:
        raise unknown_proposal()
    fields = {name: getattr(proposal, name) for name in _STORED}
    is_partial = len(part.operations) < len(proposal.operations)
    fields["reason"] = _reason(proposal.state, proposal.reason, is_partial=is_partial)
    known = await actor_names(
        connection,
        [
            proposal.scheduled_by,
            *(event.actor for event in proposal.events),
            *(item.actor for item in reviewers if item.actor is not None),
        ],
    )
    return ProposalView(
        **fields,
        author_name=known[proposal.author],
        scheduled_by_name=proposal.scheduled_by and known[proposal.scheduled_by],
        **_shown(proposal.environments, part.environments, proposal.applied),
        is_partial=is_partial,
        operations_count=len(part.operations),
        operations=list(part.operations),
        approvals=await _approvals(connection, key, proposal, part, known, reviewers),
        events=[
            msgspec.structs.replace(
                event,
                actor_name=known[event.actor],
                environments=names,
                text=_reason(event.event, event.text, is_partial=is_partial) or "",
            )
            for event in proposal.events
            if (names := _readable_names(event, part, rights))
        ],
    )


def _readable_names(event: ProposalEvent, part: Proposal, rights: Rights) -> list[str]:
    """Return the environments of an event: those with own keys in the proposal, or all keys."""
    return [
        name
        for name in event.environments
        if name in part.environments or rights.covers_all(Scope.READ, name)
    ]


async def summaries(
    connection: Connection,
    rights: Rights,
    *,
    states: Sequence[ProposalState] | None,
    page_size: int,
    before: int = wire.LATEST,
    environment: str | None = None,
    author: str | None = None,
    ids: Sequence[int] | None = None,
) -> list[ProposalSummary]:
    """Return the proposals that a caller may read in part, the latest first. None matches all."""
    own_environments, own_prefixes = readable_prefixes(rights)
    listed = sql.list_proposals(
        connection,
        before=before,
        states=states,
        environment=environment,
        author=author,
        ids=ids,
        own_environments=own_environments,
        own_prefixes=own_prefixes,
        page_size=page_size,
    )
    rows = [row async for row in listed]
    actors = [actor for row in rows for actor in (row["author"], row["scheduled_by"])]
    names = await actor_names(connection, actors)
    return [_summary(row, names) for row in rows]


def _summary(row: Mapping[str, Any], names: Mapping[str, str]) -> ProposalSummary:
    fields = {name: row[name] for name in _STORED} | {"state": ProposalState(row["state"])}
    is_partial = row["operations_count"] < row["all_count"]
    fields["reason"] = _reason(row["state"], row["reason"], is_partial=is_partial)
    return ProposalSummary(
        **fields,
        author_name=names[row["author"]],
        scheduled_by_name=row["scheduled_by"] and names[row["scheduled_by"]],
        **_shown(row["environments"], row["own_environments"], row["applied"]),
        is_partial=is_partial,
        operations_count=row["operations_count"],
    )


_STORED = (
    *("id", "title", "message", "state", "version", "author", "created_at", "updated_at"),
    *("apply_at", "expires_after_seconds", "scheduled_by", "reason"),
)


def _reason(state: str, reason: str | None, *, is_partial: bool) -> str | None:
    """Return a reason, without that of a failure if a hidden key may have caused it."""
    if state == ProposalState.FAILED and is_partial:
        return "The reason is shown to callers who may read all keys of the proposal."
    return reason


def _shown(
    names: Sequence[str], own: Sequence[str], applied: Mapping[str, int] | None
) -> dict[str, Any]:
    return {
        "environments": list(own),
        "hidden_environments": len(names) - len(own),
        "applied": applied and {name: applied[name] for name in own if name in applied},
    }


async def _approvals(
    connection: Connection,
    key: Secret,
    proposal: Proposal,
    part: Proposal,
    names: Mapping[str, str],
    reviewers: Sequence[Reviewer],
) -> list[EnvironmentApprovals]:
    """Return the approvals of a proposal in review. Later the history has those that counted."""
    if proposal.state not in IN_REVIEW:
        return []
    counted = await approvals.authorities(connection, key, proposal, NO_RIGHTS)
    existing = {item.name: item for item in await environments.list_all(connection)}
    return [
        _environment_approvals(
            existing[name], _covered_in(part, name), counted[name], names, reviewers
        )
        for name in part.environments
        if name in existing
    ]


def _covered_in(part: Proposal, name: str) -> list[str]:
    """Return the keys of a part that need approvals."""
    own = set(keys_in(part.operations, name))
    return [key for key in part.needs.covered.get(name, ()) if key in own]


def _environment_approvals(
    environment: Environment,
    covered: Sequence[str],
    authority: Authority,
    names: Mapping[str, str],
    reviewers: Sequence[Reviewer],
) -> EnvironmentApprovals:
    protection = environment.protection if covered else None
    lacking = {} if protection is None else missing_approvals(protection, authority, covered)
    groups: defaultdict[tuple[int, tuple[Reviewer, ...]], list[str]] = defaultdict(list)
    for key, count in lacking.items():
        groups[count, who_may_approve(reviewers, environment.name, key)].append(key)
    approvers = sorted(
        actor
        for actor, keys in authority.approvers.items()
        if not covered or any(key in keys for key in covered)
    )
    return EnvironmentApprovals(
        environment=environment.name,
        required=protection.approvals if protection is not None else 0,
        missing=max(lacking.values(), default=0),
        approvers=approvers,
        approver_names=[names[approver] for approver in approvers],
        lacking=[
            MissingApprovals(
                keys=keys,
                missing=count,
                reviewers=_names(who, names),
            )
            for (count, who), keys in groups.items()
        ],
    )


def _names(reviewers: Sequence[Reviewer], names: Mapping[str, str]) -> list[str]:
    found = (item.name if item.actor is None else names[item.actor] for item in reviewers)
    return list(dict.fromkeys(found))
