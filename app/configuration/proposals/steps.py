"""The steps of a proposal in requests: those of the API, and those of the console's pages.

A step is tried in a transaction of its own, which is rolled back, before the transaction that
changes the proposal. So the second one is short. Each step runs once per Idempotency-Key.
"""

from collections.abc import Awaitable, Callable

from aiohttp import web

from app.access.guard import ACCESS_LOG, CALLER, TOKENS, origin
from app.access.models import Scope
from app.access.refusals import BY_OWNER
from app.configuration.changes.requests import NewChangeSet
from app.configuration.changes.write_requests import CHECKS
from app.configuration.proposals import editing, parts, reading, service, store, trial
from app.configuration.proposals.models import Proposal, unstored
from app.configuration.proposals.requests import (
    NewProposal,
    ProposalPatch,
    ProposalSchedule,
    new_proposal,
)
from app.configuration.proposals.reviewers import reviewers_in
from app.configuration.proposals.states import Action, ProposalState, after
from app.configuration.proposals.trial import Checked, Trial
from app.configuration.proposals.views import ProposalView, view
from app.configuration.proposals.watch import WATCH
from app.configuration.snapshots.reading import wait_until_served
from app.database import Connection
from app.errors import Forbidden
from app.http.conditions import ExpectedVersion
from app.http.keys import DATABASE
from app.http.writes import checked, run_write, transact
from app.secrets.reveal import VAULT

# The scope that an action needs for every key. Approvals are for a part of the keys.
_SCOPES = {Action.SUBMIT: Scope.PROPOSE, Action.APPROVE: None, Action.SCHEDULE: Scope.WRITE}


async def create(request: web.Request, new: NewProposal) -> ProposalView:
    """Create a proposal. Each operation names its environment."""
    return await _create(request, new)


async def propose(request: web.Request, change_set: NewChangeSet) -> ProposalView:
    """Create the proposal of a write that needs approval. Raises TooLarge."""
    new = new_proposal(change_set)
    # The write may have stored another answer under the same Idempotency-Key.
    return await _create(request, new, purpose=" proposes")


async def _create(request: web.Request, new: NewProposal, *, purpose: str = "") -> ProposalView:
    actor = actor_of(request)
    parts.require_all(actor.rights, Scope.PROPOSE, new.operations)
    if not parts.readable(new.operations, actor.rights):
        raise Forbidden(
            "scope_missing",
            f"This needs the scope read for a key of the proposal, to show it. {BY_OWNER}",
        )
    tried = await checked(request, _try_new(request, new))
    return await _run(
        request,
        lambda c: service.create(c, request.app[VAULT], new, tried(), actor),
        purpose=purpose,
    )


async def edit(
    request: web.Request, id_: int, patch: ProposalPatch, *, expected: ExpectedVersion
) -> ProposalView:
    actor, vault = actor_of(request), request.app[VAULT]
    edited = await checked(request, _try_edit(request, id_, patch))

    async def work(connection: Connection) -> None:
        before, new, tried = edited()
        await service.edit(connection, vault, before, new, tried, actor, expected=expected)

    return await _change(request, id_, work)


async def submit(request: web.Request, id_: int, text: str) -> ProposalView:
    actor = actor_of(request)
    tried = await checked(request, _try(request, id_, Action.SUBMIT))
    return await _change(request, id_, lambda c: service.submit(c, *tried(), actor, text))


async def approve(
    request: web.Request, id_: int, text: str, *, expected: ExpectedVersion
) -> ProposalView:
    actor = actor_of(request)
    tried = await checked(request, _try(request, id_, Action.APPROVE))
    return await _change(
        request, id_, lambda c: service.approve(c, *tried(), actor, text, expected=expected)
    )


async def reject(request: web.Request, id_: int, reason: str) -> ProposalView:
    actor = actor_of(request)
    return await _change(request, id_, lambda c: service.reject(c, id_, actor, reason))


async def comment(request: web.Request, id_: int, text: str) -> ProposalView:
    actor = actor_of(request)
    return await _change(request, id_, lambda c: service.comment(c, id_, actor, text))


async def withdraw(request: web.Request, id_: int, text: str) -> ProposalView:
    actor = actor_of(request)
    return await _change(request, id_, lambda c: service.withdraw(c, id_, actor, text))


async def schedule(
    request: web.Request, id_: int, body: ProposalSchedule, *, expected: ExpectedVersion
) -> ProposalView:
    """Schedule a proposal, or end its schedule."""
    actor, apply_at = actor_of(request), body.apply_at
    if apply_at is None:
        return await _change(
            request, id_, lambda c: service.unschedule(c, id_, actor, expected=expected)
        )
    tried = await checked(request, _try(request, id_, Action.SCHEDULE))
    return await _change(
        request,
        id_,
        lambda c: service.schedule(
            c,
            *tried(),
            actor,
            expected=expected,
            apply_at=apply_at,
            expires_after_seconds=body.expires_after_seconds,
        ),
    )


async def apply(
    request: web.Request,
    id_: int,
    text: str,
    *,
    expected: ExpectedVersion,
    emergency: bool = False,
) -> ProposalView:
    """Apply a proposal, and wait until this instance serves it.

    In an emergency, which the caller has checked, it needs no approval, and the text is the reason.
    """
    actor, vault = actor_of(request), request.app[VAULT]
    ready = await checked(request, _check(request, id_, Action.APPLY))
    shown = await _change(
        request,
        id_,
        lambda c: service.apply(
            c, ready(), vault, actor, expected=expected, text=text, emergency=emergency
        ),
    )
    for name, revision in (shown.applied or {}).items():
        await wait_until_served(request, name, revision)
    return shown


async def _try_new(request: web.Request, new: NewProposal) -> Trial | None:
    """Try a new proposal. The contents and the lists of a draft are checked only."""
    intents = await trial.intents(request.app[CHECKS], new.operations)
    ready = Checked(proposal=unstored(new), intents=intents)
    if new.draft:
        await _check_draft(request, ready)
        return None
    return await _try_out(request, ready, Scope.PROPOSE)


async def _try_edit(
    request: web.Request, id_: int, patch: ProposalPatch
) -> tuple[Proposal, Proposal, Trial | None]:
    """Return the proposal before and after the edit, and the trial of one that is submitted."""
    rights = request[CALLER].rights
    async with request.app[DATABASE].connection() as connection:
        proposal = await reading.find(connection, id_, rights)
        parts.require_all(rights, Scope.PROPOSE, proposal.operations)
        state = after(Action.EDIT, proposal.state)
        values = await store.secret_values(connection, request.app[VAULT], proposal)
    edited = editing.edited(proposal, patch, values)
    parts.require_all(rights, Scope.PROPOSE, edited.operations)
    intents = await trial.intents(request.app[CHECKS], edited.operations)
    ready = Checked(proposal=edited, intents=intents, stored=proposal.operations)
    if state is ProposalState.DRAFT:
        await _check_draft(request, ready)
        return proposal, edited, None
    tried = await _try_out(request, ready, Scope.PROPOSE)
    return proposal, edited, tried


async def _check(request: web.Request, id_: int, action: Action) -> Checked:
    """Check the contents of a proposal, if the action is possible."""
    async with request.app[DATABASE].connection() as connection:
        proposal = await reading.find(connection, id_, request[CALLER].rights)
    after(action, proposal.state)
    return await trial.check(
        request.app[DATABASE], request.app[VAULT], request.app[CHECKS], proposal
    )


async def _try(request: web.Request, id_: int, action: Action) -> tuple[Proposal, Trial]:
    ready = await _check(request, id_, action)
    return ready.proposal, await _try_out(request, ready, _SCOPES[action])


async def _check_draft(request: web.Request, ready: Checked) -> None:
    caller = request[CALLER]
    await trial.check_draft(request.app[DATABASE], ready, actor=caller.actor, rights=caller.rights)


async def _try_out(request: web.Request, ready: Checked, scope: Scope | None) -> Trial:
    """Try a proposal, and roll back. Raises what a write would raise.

    The caller must hold the scope for each key.
    """
    caller, vault = request[CALLER], request.app[VAULT]
    result = await transact(
        request.app[DATABASE],
        lambda c: trial.try_out(
            c, ready, actor=caller.actor, rights=caller.rights, scope=scope, vault=vault
        ),
        dry_run=True,
    )
    result.check(ready.proposal, caller.rights)
    return result


async def _change(
    request: web.Request, id_: int, work: Callable[[Connection], Awaitable[object]]
) -> ProposalView:
    async def change(connection: Connection) -> int:
        await work(connection)
        return id_

    return await _run(request, change)


async def _run(
    request: web.Request, work: Callable[[Connection], Awaitable[int]], *, purpose: str = ""
) -> ProposalView:
    """Run a step once per Idempotency-Key, and return the proposal after it."""
    caller = request[CALLER]

    async def run(connection: Connection) -> ProposalView:
        proposal = await store.find(connection, await work(connection))
        return await view_of(request, connection, proposal)

    shown = await run_write(request, run, actor=caller.actor + purpose, answer_type=ProposalView)
    # Behind a pooler there are no notifications.
    request.app[WATCH].hint()
    return shown


async def view_of(request: web.Request, connection: Connection, proposal: Proposal) -> ProposalView:
    """Return the part of a proposal that the caller may read, with who may approve it."""
    credentials, rights = request.app[TOKENS], request[CALLER].rights
    reviewers = reviewers_in(credentials)
    return await view(connection, credentials.key, proposal, rights, reviewers)


def actor_of(request: web.Request) -> service.Actor:
    return service.Actor(
        name=request[CALLER].actor,
        rights=request[CALLER].rights,
        key=request.app[TOKENS].key,
        origin=origin(request),
        log=request.app[ACCESS_LOG],
    )
