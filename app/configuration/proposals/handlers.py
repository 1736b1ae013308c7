"""HTTP handlers of proposals."""

from http import HTTPStatus
from typing import Any

import msgspec
from aiohttp import web

from app.access.guard import CALLER
from app.access.models import Scope
from app.access.refusals import environment_foreign
from app.configuration.changes.handlers import HEAVY_SECONDS
from app.configuration.changes.write_options import check_publish
from app.configuration.proposals import editing, steps, store
from app.configuration.proposals import requests as shapes
from app.configuration.proposals.states import ProposalState
from app.configuration.proposals.views import ProposalPage, ProposalView, summaries
from app.errors import ApprovalRequired, invalid, malformed
from app.http import wire
from app.http.conditions import read_expected_version
from app.http.keys import DATABASE, Handler
from app.names import ENVIRONMENT_RULE, is_environment


async def list_proposals(request: web.Request) -> web.Response:
    """List the proposals that change keys of the token.

    The latest comes first. `state` may name several states, separated by commas.
    """
    query = wire.read_query(request, {"state", "environment", "author", "before", "limit"})
    before, limit = wire.before(query), wire.page_size(query)
    environment = query.get("environment")
    if environment is not None and not is_environment(environment):
        raise malformed("environment", ENVIRONMENT_RULE)
    rights = request[CALLER].rights
    if environment is not None and not rights.covers(Scope.READ, environment):
        raise environment_foreign()
    states = _states(query.get("state"))

    async with request.app[DATABASE].connection() as connection:
        items = await summaries(
            *(connection, rights),
            states=states,
            page_size=limit + 1,
            before=before,
            environment=environment,
            author=query.get("author"),
        )

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
    """Read a proposal with its operations, approvals and events."""
    wire.read_query(request, set())

    async with request.app[DATABASE].connection() as connection:
        proposal = await store.find(connection, read_id(request))
        shown = await steps.view_of(request, connection, proposal)

    return wire.answer(shown)


async def create_proposal(request: web.Request) -> web.Response:
    """Propose a change set.

    It is submitted at once, unless `draft` is true. Operations and versions are as those of a
    change set, and may be of several environments. A submitted proposal is tried: what a write
    would refuse is refused here too.
    """
    body = await _read(request, shapes.NewProposal)
    operations = editing.with_environments(body.operations, body.environment)
    shown = await steps.create(request, msgspec.structs.replace(body, operations=operations))
    return _created(shown, HTTPStatus.CREATED)


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
        shown = await steps.propose(request, change_set)
        return _created(shown, HTTPStatus.ACCEPTED)

    return propose


def _created(shown: ProposalView, status: HTTPStatus) -> web.Response:
    return wire.answer(shown, status=status, headers={"Location": f"/v1/proposals/{shown.id}"})


def _is_asked(request: web.Request) -> bool:
    preferred = ",".join(request.headers.getall("Prefer", ())).split(",")
    return "proposal" in map(str.strip, preferred) or request.query.get("propose") == "true"


async def edit_proposal(request: web.Request) -> web.Response:
    """Edit a proposal.

    `If-Match` has its version. An edit ends its approvals and its schedule. A rejected or failed
    proposal becomes a draft again.
    """
    expected = read_expected_version(request, may_create=False)
    patch = await _read(request, shapes.ProposalPatch, types=wire.MERGE_PATCH)
    return wire.answer(await steps.edit(request, read_id(request), patch, expected=expected))


async def submit_proposal(request: web.Request) -> web.Response:
    """Submit a draft for approval.

    It is tried first: what a write would refuse is refused here too.
    """
    body = await _read(request, shapes.ProposalRemark)
    return wire.answer(await steps.submit(request, read_id(request), body.text))


async def approve_proposal(request: web.Request) -> web.Response:
    """Approve a proposal for the keys that the token may approve.

    `If-Match` has the version that was read: an edit meanwhile gets 412. Authors and editors cannot
    approve, unless the protection of the environment allows it.
    """
    expected = read_expected_version(request, may_create=False)
    body = await _read(request, shapes.ProposalRemark)
    id_ = read_id(request)
    return wire.answer(await steps.approve(request, id_, body.text, expected=expected))


async def reject_proposal(request: web.Request) -> web.Response:
    """Reject a proposal, with a reason.

    It can be edited and submitted again.
    """
    body = await _read(request, shapes.Rejection)
    return wire.answer(await steps.reject(request, read_id(request), body.reason))


async def comment_on_proposal(request: web.Request) -> web.Response:
    """Comment on a proposal."""
    body = await _read(request, shapes.Comment)
    return wire.answer(await steps.comment(request, read_id(request), body.text))


async def withdraw_proposal(request: web.Request) -> web.Response:
    """Withdraw a proposal.

    Only its authors and administrators of all of its keys may.
    """
    body = await _read(request, shapes.ProposalRemark)
    return wire.answer(await steps.withdraw(request, read_id(request), body.text))


async def schedule_proposal(request: web.Request) -> web.Response:
    """Schedule an approved proposal.

    `If-Match` has its version. It is applied within a second of its time, by the clock of the
    database. If the token that scheduled it may no longer write a key then, it fails. `apply_at`
    null ends the schedule.
    """
    expected = read_expected_version(request, may_create=False)
    body = await _read(request, shapes.ProposalSchedule)
    return wire.answer(await steps.schedule(request, read_id(request), body, expected=expected))


async def apply_proposal(request: web.Request) -> web.Response:
    """Apply a proposal.

    `If-Match` has its version. It writes one change set in each environment, in one transaction.
    An approval counts for the keys that its giver may approve now. In an emergency it needs none:
    the token needs the scope publish for each protected key, and `text` is the reason.
    """
    expected = read_expected_version(request, may_create=False)
    query = wire.read_query(request, {"emergency"})
    emergency = wire.flag(query, "emergency")
    if emergency:
        check_publish(request)
    body = await wire.read_body(request, shapes.ProposalRemark, answer_seconds=HEAVY_SECONDS)
    if emergency and not body.text.strip():
        raise invalid("text", "must give the reason of the emergency")
    shown = await steps.apply(
        request, read_id(request), body.text, expected=expected, emergency=emergency
    )
    return wire.answer(shown)


async def _read(request: web.Request, shape: type[Any], **options: Any) -> Any:
    wire.read_query(request, set())
    return await wire.read_body(request, shape, answer_seconds=HEAVY_SECONDS, **options)


def read_id(request: web.Request) -> int:
    return int(request.match_info["proposal"])
