"""Create, edit, decide and apply proposals, in the caller's transaction.

Every transition locks the row of the proposal, so of two at the same moment the second sees the
result of the first. An edit makes a new version; approvals are of one version. Lock order: the
proposal, then its environments by name, then the events.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from app.access.events import AccessEvent, Origin
from app.access.log import AccessLog
from app.access.models import Scope
from app.access.permissions import Keys, Rights
from app.access.refusals import proposal_foreign
from app.configuration.changes.administration import (
    check_administration,
    record_administration,
    record_emergencies,
)
from app.configuration.changes.views import AppliedChangeSets, made_view
from app.configuration.proposals import approvals, store
from app.configuration.proposals.models import (
    COMMENTED,
    CREATED,
    Needs,
    Proposal,
    environments_of,
)
from app.configuration.proposals.parts import environments_with, has_all, require_all
from app.configuration.proposals.reading import check_version, find
from app.configuration.proposals.requests import NewProposal
from app.configuration.proposals.states import Action, ProposalState, after
from app.configuration.proposals.trial import Checked, Trial, apply_intent
from app.database import Connection, sql
from app.errors import AppError, Conflict, Forbidden, invalid
from app.http.conditions import ExpectedVersion
from app.secrets.vault import Vault
from app.settings import Secret

# A limit of the conversation, so that a proposal can be read at once.
EVENTS_MAX = 500
# A clock of a client may be behind.
_LATE_SECONDS = 60.0


@dataclass(frozen=True, kw_only=True)
class Actor:
    """Who changes a proposal, with which rights, and the access log that records it.

    `key` is that of the MACs of people and grants.
    """

    name: str
    rights: Rights
    key: Secret
    origin: Origin
    log: AccessLog


async def create(
    connection: Connection, vault: Vault, body: NewProposal, trial: Trial | None, actor: Actor
) -> int:
    """Store a proposal, and return its ID. With a trial it is submitted at once."""
    require_all(actor.rights, Scope.PROPOSE, body.operations)
    by = actor.name
    id_ = await store.insert(
        connection,
        vault,
        title=body.title,
        message=body.message,
        operations=body.operations,
        state=ProposalState.DRAFT if trial is None else ProposalState.OPEN,
        author=by,
        needs=Needs() if trial is None else trial.needs,
    )
    names = environments_of(body.operations)
    if trial is not None:
        await _settle(connection, await store.find(connection, id_), trial.needs, actor)
    await store.add_event(connection, id_, CREATED, version=1, actor=by, environments=names)
    if trial is not None:
        await _record(actor, connection, id_, Action.SUBMIT, names)
        await store.add_event(
            connection, id_, Action.SUBMIT, version=1, actor=by, environments=names
        )
    return id_


async def edit(
    connection: Connection,
    vault: Vault,
    proposal: Proposal,
    new: Proposal,
    trial: Trial | None,
    actor: Actor,
    *,
    expected: ExpectedVersion,
) -> None:
    """Store an edit, which ends approvals and a schedule. A trial is of a submitted proposal."""
    current = await _locked(connection, proposal, actor.rights, expected)
    require_all(actor.rights, Scope.PROPOSE, [*current.operations, *new.operations])
    state = after(Action.EDIT, current.state)
    _check_events(current)
    if (trial is None) != (state is ProposalState.DRAFT):
        raise Conflict("proposal_changed", "The proposal was changed meanwhile. Try again.")
    version = current.version + 1
    new = replace(new, state=state)
    await store.replace(
        connection,
        vault,
        new,
        new.operations,
        version=version,
        needs=Needs() if trial is None else trial.needs,
    )
    if trial is not None:
        await _settle(connection, await store.find(connection, proposal.id), trial.needs, actor)
    await store.add_event(
        connection,
        proposal.id,
        Action.EDIT,
        version=version,
        actor=actor.name,
        environments=sorted({*current.environments, *new.environments}),
    )


async def submit(
    connection: Connection, proposal: Proposal, trial: Trial, actor: Actor, text: str
) -> None:
    current = await _locked(connection, proposal, actor.rights)
    require_all(actor.rights, Scope.PROPOSE, current.operations)
    state = after(Action.SUBMIT, current.state)
    _check_events(current)
    await _settle(connection, replace(current, state=state), trial.needs, actor)
    await _add(connection, current, Action.SUBMIT, actor, text)


async def approve(
    connection: Connection,
    proposal: Proposal,
    trial: Trial,
    actor: Actor,
    text: str,
    *,
    expected: ExpectedVersion,
) -> None:
    """Approve the version that the caller has seen, for the keys that they may approve.

    Raises Stale for another version.
    """
    current = await _locked(connection, proposal, actor.rights, expected)
    state = after(Action.APPROVE, current.state)
    _check_events(current)
    keys = await approvals.approvable(connection, actor.key, current, actor.name, actor.rights)
    names = list(keys)
    await _add(connection, current, Action.APPROVE, actor, text, names=names, approved_keys=keys)
    with_approval = await store.find(connection, current.id)
    await _settle(connection, replace(with_approval, state=state), trial.needs, actor)


async def reject(connection: Connection, id_: int, actor: Actor, reason: str) -> None:
    current = await find(connection, id_, actor.rights, lock=True)
    names = environments_with(current, actor.rights, Scope.APPROVE)
    if not names:
        raise proposal_foreign("the scope approve")
    state = after(Action.REJECT, current.state)
    await store.set_state(connection, current, state, reason=reason[:1_000])
    await _add(connection, current, Action.REJECT, actor, reason, names=names)


async def comment(connection: Connection, id_: int, actor: Actor, text: str) -> None:
    current = await find(connection, id_, actor.rights, lock=True)
    _check_events(current)
    names = environments_with(current, actor.rights, Scope.READ)
    if not any(
        environments_with(current, actor.rights, scope) for scope in (Scope.PROPOSE, Scope.APPROVE)
    ):
        raise proposal_foreign("the scope propose or approve")
    await store.add_event(
        connection,
        current.id,
        COMMENTED,
        version=current.version,
        actor=actor.name,
        environments=names,
        text=text,
    )


async def withdraw(connection: Connection, id_: int, actor: Actor, text: str) -> None:
    """Withdraw a proposal. Only its authors and administrators may. Raises Forbidden."""
    current = await find(connection, id_, actor.rights, lock=True)
    state = after(Action.WITHDRAW, current.state)
    known = await approvals.people(connection, actor.key, {*current.authors, actor.name})
    authors = {known[author].name for author in current.authors}
    is_author = known[actor.name].name in authors
    if is_author:
        require_all(actor.rights, Scope.PROPOSE, current.operations)
    elif not has_all(current, actor.rights, Scope.ADMIN):
        raise Forbidden(
            "not_author",
            "Only its authors, and administrators of all its keys, can withdraw a proposal. "
            "Reject it instead.",
        )
    await store.set_state(connection, current, state)
    await _add(connection, current, Action.WITHDRAW, actor, text)


async def schedule(
    connection: Connection,
    proposal: Proposal,
    trial: Trial,
    actor: Actor,
    *,
    expected: ExpectedVersion,
    apply_at: datetime,
    expires_after_seconds: int,
) -> None:
    """Schedule an approved proposal. Raises Conflict when approvals are missing."""
    current = await _locked(connection, proposal, actor.rights, expected)
    require_all(actor.rights, Scope.WRITE, current.operations)
    state = after(Action.SCHEDULE, current.state)
    _check_events(current)
    if lacking := await approvals.missing(connection, actor.key, current, trial.needs):
        raise approvals.approvals_missing(lacking)
    delay = await sql.get_delay(connection, at=apply_at)
    if delay < -_LATE_SECONDS:
        raise invalid("apply_at", "must not be in the past")
    check_administration(await _views(trial), actor.rights)
    await sql.schedule_proposal(
        connection,
        id=current.id,
        state=state,
        apply_at=apply_at,
        expires_after_seconds=expires_after_seconds,
        scheduled_by=actor.name,
    )
    text = f"for {apply_at.isoformat()}"
    await _add(connection, current, Action.SCHEDULE, actor, text)


async def unschedule(
    connection: Connection, id_: int, actor: Actor, *, expected: ExpectedVersion
) -> None:
    current = await find(connection, id_, actor.rights, lock=True)
    check_version(current, expected)
    require_all(actor.rights, Scope.WRITE, current.operations)
    state = after(Action.UNSCHEDULE, current.state)
    await sql.schedule_proposal(
        connection,
        id=current.id,
        state=state,
        apply_at=None,
        expires_after_seconds=None,
        scheduled_by=None,
    )
    await _settle(connection, replace(current, state=state), current.needs, actor)
    await _add(connection, current, Action.UNSCHEDULE, actor)


async def apply(
    connection: Connection,
    checked: Checked,
    vault: Vault,
    actor: Actor,
    *,
    expected: ExpectedVersion | None = None,
    text: str = "",
    emergency: bool = False,
) -> AppliedChangeSets:
    """Apply a proposal: one change set in each environment, and its mark, in one transaction.

    In an emergency it needs no approval, and the text is the message of the change sets.
    """
    current = await _locked(connection, checked.proposal, actor.rights, expected)
    require_all(actor.rights, Scope.WRITE, current.operations)
    state = after(Action.APPLY, current.state)
    known = await approvals.authorities(connection, actor.key, current, actor.rights)
    written = []
    # Ordered by name, as in every write of several environments, so that two cannot deadlock.
    for name, intent in sorted(checked.intents.items()):
        change_set = await apply_intent(
            connection,
            current,
            name,
            intent,
            actor=actor.name,
            vault=vault,
            authority=replace(known[name], emergency=emergency),
            message=text if emergency else "",
        )
        written.append(await made_view(change_set))
    views = AppliedChangeSets(change_sets=written)
    check_administration(views, actor.rights)
    await record_administration(connection, actor.log, views, actor.origin)
    await record_emergencies(connection, actor.log, written, actor.origin)
    revisions = {change_set.environment: change_set.revision for change_set in written}
    await store.set_state(connection, current, state, applied=revisions)
    await _add(connection, current, Action.APPLY, actor, text)
    return views


async def fail(connection: Connection, proposal: Proposal, error: AppError, actor: Actor) -> None:
    """Mark a scheduled proposal that cannot be applied, with the reason."""
    state = after(Action.FAIL, proposal.state)
    await store.set_state(connection, proposal, state, reason=error.message[:1_000])
    await _add(connection, proposal, Action.FAIL, actor, error.message)


async def _locked(
    connection: Connection,
    proposal: Proposal,
    rights: Rights,
    expected: ExpectedVersion | None = None,
) -> Proposal:
    """Lock a proposal that was read before. Raises Stale when it was edited since."""
    current = await find(connection, proposal.id, rights, lock=True)
    check_version(current, expected)
    check_version(current, ExpectedVersion(version=proposal.version))
    return current


async def _settle(connection: Connection, proposal: Proposal, needs: Needs, actor: Actor) -> None:
    """Store the state: approved instead of open when no approval is missing."""
    state = proposal.state
    if state is ProposalState.OPEN and not await approvals.missing(
        connection, actor.key, proposal, needs
    ):
        state = ProposalState.APPROVED
    await store.set_state(connection, proposal, state, needs=needs)


def _check_events(proposal: Proposal) -> None:
    if len(proposal.events) >= EVENTS_MAX:
        raise Conflict(
            "proposal_full",
            f"The proposal has {EVENTS_MAX} events. Withdraw it, and create a new one.",
        )


async def _views(trial: Trial) -> AppliedChangeSets:
    return AppliedChangeSets(
        change_sets=[await made_view(change_set) for change_set in trial.change_sets.values()]
    )


async def _add(
    connection: Connection,
    proposal: Proposal,
    action: Action,
    actor: Actor,
    text: str = "",
    *,
    names: list[str] | None = None,
    approved_keys: Mapping[str, Keys] | None = None,
) -> None:
    names = list(proposal.environments) if names is None else names
    await _record(actor, connection, proposal.id, action, names)
    await store.add_event(
        connection,
        proposal.id,
        action,
        version=proposal.version,
        actor=actor.name,
        environments=names,
        text=text,
        approved_keys=approved_keys,
    )


async def _record(
    actor: Actor, connection: Connection, id_: int, action: Action, names: list[str]
) -> None:
    """Write the action to the access log, once for each environment. Raises Unavailable."""
    for name in names:
        access = actor.origin.did(
            AccessEvent.ADMINISTRATION,
            environment=name,
            resource=f"proposal {id_}",
            detail=action.value,
        )
        await actor.log.record(connection, access)
