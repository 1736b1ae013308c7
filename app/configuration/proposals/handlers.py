"""HTTP handlers of proposals.

A write is tried in a transaction of its own, which is rolled back, before the transaction that
changes the proposal. So the second one is short.
"""

from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any

import msgspec
from aiohttp import web

from app.access.guard import ACCESS_LOG, CALLER, origin
from app.access.models import EVERY_ENVIRONMENT
from app.configuration.changes.handlers import HEAVY_SECONDS
from app.configuration.changes.requests import OPERATIONS_MAX
from app.configuration.changes.write_requests import CHECKS
from app.configuration.proposals import requests as shapes
from app.configuration.proposals import service, store, trial
from app.configuration.proposals.models import Proposal, environments_of, unstored
from app.configuration.proposals.states import Action, ProposalState, after
from app.configuration.proposals.trial import Checked, Trial
from app.configuration.proposals.views import ProposalPage, ProposalView, summary, view
from app.configuration.proposals.watch import WATCH
from app.configuration.snapshots.reading import wait_until_served
from app.database import Connection, sql
from app.errors import ApprovalRequired, Forbidden, TooLarge, malformed
from app.http import wire
from app.http.conditions import read_expected_version
from app.http.keys import DATABASE, Handler
from app.http.writes import checked, run_write, transact
from app.names import ENVIRONMENT_RULE, counted, is_environment
from app.secrets.reveal import VAULT

Work = Callable[[Connection], Awaitable[int]]


async def list_proposals(request: web.Request) -> web.Response:
    """List the proposals of the token's environments.

    The latest comes first. `state` may name several states, separated by commas.
    """
    query = wire.read_query(request, {"state", "environment", "author", "before", "limit"})
    before, limit = wire.before(query), wire.page_size(query)
    environment = query.get("environment")
    if environment is not None and not is_environment(environment):
        raise malformed("environment", ENVIRONMENT_RULE)
    grant = request[CALLER].grant
    if environment is not None and not grant.covers(environment):
        raise Forbidden("environment_foreign", "The token is not for this environment.")
    has_all = EVERY_ENVIRONMENT in grant.environments

    async with request.app[DATABASE].connection() as connection:
        rows = sql.list_proposals(
            connection,
            before=before,
            states=_states(query.get("state")),
            environment=environment,
            author=query.get("author"),
            visible=None if has_all else sorted(grant.environments),
            page_size=limit + 1,
        )
        items = [summary(row, grant) async for row in rows]

    more = len(items) > limit
    return wire.answer(
        ProposalPage(items=items[:limit], next=items[limit - 1].id if more else None)
    )


def _states(text: str | None) -> list[ProposalState] | None:
    if text is None:
        return None
    names = text.split(",")
    if not set(names) <= set(ProposalState):
        raise malformed("state", f"must be among {', '.join(ProposalState)}, separated by commas")
    return [ProposalState(name) for name in names]


async def get_proposal(request: web.Request) -> web.Response:
    """Read a proposal.

    The answer has its operations, its approvals and its events.
    """
    wire.read_query(request, set())

    async with request.app[DATABASE].connection() as connection:
        proposal = await service.find(connection, read_id(request), request[CALLER].grant)
        shown = await view(connection, proposal, request[CALLER].grant)

    return wire.answer(shown)


async def create_proposal(request: web.Request) -> web.Response:
    """Propose a change set.

    It is submitted at once, unless `draft` is true. Operations and versions are as those of a
    change set, and may be of several environments. A submitted proposal is tried: what a write
    would refuse is refused here too.
    """
    wire.read_query(request, set())
    body = await wire.read_body(request, shapes.NewProposal, answer_seconds=HEAVY_SECONDS)
    body = msgspec.structs.replace(
        body, operations=_with_environments(body.operations, body.environment)
    )

    return await answer_created(request, body, status=HTTPStatus.CREATED)


async def answer_created(
    request: web.Request, body: shapes.NewProposal, *, status: HTTPStatus
) -> web.Response:
    """Create a proposal, and answer with it. Each operation names its environment."""
    actor = actor_of(request)
    service.require_all(actor.grant, environments_of(body.operations))
    tried = await checked(request, _try_new(request, body))

    shown = await _run(
        request,
        lambda c: service.create(c, request.app[VAULT], body, tried(), actor),
        # Another answer than that of the write, which may be stored under the same key.
        purpose="" if status == HTTPStatus.CREATED else " proposes",
    )

    return wire.answer(shown, status=status, headers={"Location": f"/v1/proposals/{shown.id}"})


async def _try_new(request: web.Request, body: shapes.NewProposal) -> Trial | None:
    """Try a new proposal. The contents of a draft are checked only."""
    intents = await trial.intents(request.app[CHECKS], body.operations)
    if body.draft:
        return None
    proposal = unstored(body)
    return await _try_out(request, Checked(proposal=proposal, intents=intents))


def _with_environments(
    operations: list[shapes.AnyOperation], default: str | None
) -> list[shapes.AnyOperation]:
    """Return the operations with their environments. Raises Invalid, naming each without one."""
    service.check_environments(operations, default)
    return [
        msgspec.structs.replace(operation, environment=operation.environment or default)
        for operation in operations
    ]


def with_proposals(handler: Handler) -> Handler:
    """Return the handler of a write, which proposes what needs approval if the request asks for it.

    It asks by `Prefer: proposal` (RFC 7240) or by `?propose=true`, and gets 202 with the proposal.
    """

    async def propose(request: web.Request) -> web.StreamResponse:
        try:
            return await handler(request)
        except ApprovalRequired as error:
            if not _is_asked(request):
                raise
            change_set = error.change_set
        operations = list(change_set.operations)
        if len(operations) > OPERATIONS_MAX:
            raise TooLarge(
                "proposal_too_large",
                f"The change has {len(operations)} operations, and a proposal has at most "
                f"{OPERATIONS_MAX}. Propose it in parts.",
            )
        title = change_set.message or f"Change of {counted(len(operations), 'entry', 'entries')}"
        body = shapes.NewProposal(
            title=title.splitlines()[0][: shapes.TITLE_MAX],
            message=change_set.message,
            operations=operations,
        )
        return await answer_created(request, body, status=HTTPStatus.ACCEPTED)

    return propose


def _is_asked(request: web.Request) -> bool:
    preferred = ",".join(request.headers.getall("Prefer", ())).split(",")
    return "proposal" in map(str.strip, preferred) or request.query.get("propose") == "true"


async def edit_proposal(request: web.Request) -> web.Response:
    """Edit a proposal.

    `If-Match` has its version. An edit ends its approvals and its schedule. A rejected or failed
    proposal becomes a draft again.
    """
    wire.read_query(request, set())
    expected = read_expected_version(request, may_create=False)
    body = await wire.read_body(
        request, shapes.ProposalPatch, types=wire.MERGE_PATCH, answer_seconds=HEAVY_SECONDS
    )
    actor = actor_of(request)
    edited = await checked(request, _try_edit(request, body))

    async def work(connection: Connection) -> int:
        before, after_edit, tried = edited()
        await service.edit(
            connection,
            request.app[VAULT],
            before,
            after_edit,
            tried,
            actor,
            expected=expected,
        )
        return before.id

    return wire.answer(await _run(request, work))


async def _try_edit(
    request: web.Request, body: shapes.ProposalPatch
) -> tuple[Proposal, Proposal, Trial | None]:
    """Return the proposal before and after the edit, and the trial of one that is submitted."""
    async with request.app[DATABASE].connection() as connection:
        proposal = await service.find(connection, read_id(request), request[CALLER].grant)
        service.require_all(request[CALLER].grant, proposal.environments)
        state = after(Action.EDIT, proposal.state)
        values = await store.secret_values(connection, request.app[VAULT], proposal)
    operations = proposal.operations
    if body.operations is not msgspec.UNSET:
        operations = _with_environments(body.operations, body.environment)
    operations = store.with_retained_secrets(operations, values)
    edited = service.edited(proposal, body, operations)
    service.require_all(request[CALLER].grant, edited.environments)
    intents = await trial.intents(request.app[CHECKS], operations)
    if state is ProposalState.DRAFT:
        return proposal, edited, None
    tried = await _try_out(request, Checked(proposal=edited, intents=intents))
    return proposal, edited, tried


async def submit_proposal(request: web.Request) -> web.Response:
    """Submit a draft for approval.

    It is tried first: what a write would refuse is refused here too.
    """
    wire.read_query(request, set())
    body = await wire.read_body(request, shapes.ProposalRemark, answer_seconds=HEAVY_SECONDS)
    actor = actor_of(request)
    tried = await checked(request, _try(request, Action.SUBMIT))

    async def work(connection: Connection) -> int:
        proposal, result = tried()
        await service.submit(connection, proposal, result, actor, body.text)
        return proposal.id

    return wire.answer(await _run(request, work))


async def approve_proposal(request: web.Request) -> web.Response:
    """Approve a proposal in the environments of the token.

    `If-Match` has the version that was read: an edit meanwhile gets 412. Authors and editors cannot
    approve, unless the protection of the environment allows it.
    """
    wire.read_query(request, set())
    expected = read_expected_version(request, may_create=False)
    body = await wire.read_body(request, shapes.ProposalRemark, answer_seconds=HEAVY_SECONDS)
    actor = actor_of(request)
    tried = await checked(request, _try(request, Action.APPROVE))

    async def work(connection: Connection) -> int:
        proposal, result = tried()
        await service.approve(connection, proposal, result, actor, body.text, expected=expected)
        return proposal.id

    return wire.answer(await _run(request, work))


async def reject_proposal(request: web.Request) -> web.Response:
    """Reject a proposal, with a reason.

    It can be edited and submitted again.
    """
    body = await _read(request, shapes.Rejection)
    id_, actor = read_id(request), actor_of(request)
    return await _answer(request, id_, lambda c: service.reject(c, id_, actor, body.reason))


async def comment_on_proposal(request: web.Request) -> web.Response:
    """Comment on a proposal."""
    body = await _read(request, shapes.Comment)
    id_, actor = read_id(request), actor_of(request)
    return await _answer(request, id_, lambda c: service.comment(c, id_, actor, body.text))


async def withdraw_proposal(request: web.Request) -> web.Response:
    """Withdraw a proposal.

    Only its authors and administrators may.
    """
    body = await _read(request, shapes.ProposalRemark)
    id_, actor = read_id(request), actor_of(request)
    return await _answer(request, id_, lambda c: service.withdraw(c, id_, actor, body.text))


async def schedule_proposal(request: web.Request) -> web.Response:
    """Schedule an approved proposal.

    `If-Match` has its version. It is applied within a second of its time, by the clock of the
    database. If the token that scheduled it may no longer write then, it fails. `apply_at` null
    ends the schedule.
    """
    wire.read_query(request, set())
    expected = read_expected_version(request, may_create=False)
    body = await wire.read_body(request, shapes.ProposalSchedule, answer_seconds=HEAVY_SECONDS)
    actor, apply_at = actor_of(request), body.apply_at
    if apply_at is None:
        id_ = read_id(request)
        return await _answer(
            request, id_, lambda c: service.unschedule(c, id_, actor, expected=expected)
        )
    tried = await checked(request, _try(request, Action.SCHEDULE))

    async def work(connection: Connection) -> int:
        proposal, result = tried()
        await service.schedule(
            connection,
            proposal,
            result,
            actor,
            expected=expected,
            apply_at=apply_at,
            expires_after_seconds=body.expires_after_seconds,
        )
        return proposal.id

    return wire.answer(await _run(request, work))


async def apply_proposal(request: web.Request) -> web.Response:
    """Apply a proposal.

    `If-Match` has its version. It writes one change set in each environment, in one transaction.
    Approvals that were given by a token that is revoked, or may no longer write, do not count.
    """
    wire.read_query(request, set())
    expected = read_expected_version(request, may_create=False)
    body = await wire.read_body(request, shapes.ProposalRemark, answer_seconds=HEAVY_SECONDS)
    actor, vault = actor_of(request), request.app[VAULT]
    prepared = await checked(request, _check(request, Action.APPLY))

    async def work(connection: Connection) -> int:
        ready = prepared()
        await service.apply(connection, ready, vault, actor, expected=expected, text=body.text)
        return ready.proposal.id

    shown = await _run(request, work)
    for name, revision in (shown.applied or {}).items():
        await wait_until_served(request, name, revision)
    return wire.answer(shown)


async def _check(request: web.Request, action: Action) -> Checked:
    """Check the contents of the proposal in the path, if the action is possible."""
    async with request.app[DATABASE].connection() as connection:
        proposal = await service.find(connection, read_id(request), request[CALLER].grant)
    after(action, proposal.state)
    return await trial.check(
        request.app[DATABASE], request.app[VAULT], request.app[CHECKS], proposal
    )


async def _try(request: web.Request, action: Action) -> tuple[Proposal, Trial]:
    ready = await _check(request, action)
    return ready.proposal, await _try_out(request, ready)


async def _try_out(request: web.Request, ready: Checked) -> Trial:
    """Try a proposal, and roll back. Raises what a write would raise."""
    caller, vault = request[CALLER], request.app[VAULT]
    result = await transact(
        request.app[DATABASE],
        lambda c: trial.try_out(c, ready, actor=caller.actor, vault=vault),
        dry_run=True,
    )
    result.check(caller.grant)
    return result


async def _read(request: web.Request, shape: type[Any]) -> Any:
    wire.read_query(request, set())
    return await wire.read_body(request, shape)


async def _answer(
    request: web.Request, id_: int, work: Callable[[Connection], Awaitable[None]]
) -> web.Response:
    async def transition(connection: Connection) -> int:
        await work(connection)
        return id_

    return wire.answer(await _run(request, transition))


async def _run(request: web.Request, work: Work, purpose: str = "") -> ProposalView:
    """Run a transition once per Idempotency-Key, and return the proposal after it."""
    caller = request[CALLER]

    async def run(connection: Connection) -> ProposalView:
        proposal = await store.find(connection, await work(connection))
        return await view(connection, proposal, caller.grant)

    actor = caller.actor + purpose
    shown = await run_write(request, run, actor=actor, answer_type=ProposalView)
    # Behind a pooler there are no notifications.
    request.app[WATCH].hint()
    return shown


def actor_of(request: web.Request) -> service.Actor:
    return service.Actor(
        name=request[CALLER].actor,
        grant=request[CALLER].grant,
        origin=origin(request),
        log=request.app[ACCESS_LOG],
    )


def read_id(request: web.Request) -> int:
    return int(request.match_info["proposal"])
