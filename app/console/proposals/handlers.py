"""The pages of proposals: the inbox, the review, and the number of those that wait."""

from contextlib import suppress
from typing import Any

from aiohttp import web

from app.access.guard import CALLER, TOKENS
from app.configuration.proposals import steps, store
from app.configuration.proposals.handlers import read_id
from app.configuration.proposals.inbox import Inbox, mark_read, read_inbox
from app.configuration.proposals.models import Proposal
from app.configuration.proposals.states import IN_REVIEW, UNDECIDED, ProposalState
from app.configuration.proposals.views import ProposalSummary, ProposalView, summaries
from app.configuration.snapshots.reading import FOLLOWER
from app.console.forms import FormErrors
from app.console.proposals.views import (
    InboxRows,
    conversation,
    environment_review,
    inbox_rows,
    may_apply_in_emergency,
    possible_actions,
    proposal_row,
)
from app.console.rendering import page
from app.errors import AppError, Unavailable
from app.flags.proposals.preview import preview
from app.http import problems, wire
from app.http.keys import DATABASE
from app.threads import in_turn

_PAGE_SIZE = 50
FILTERS = {
    "review": ("To review", tuple(IN_REVIEW)),
    "mine": ("Mine", tuple(UNDECIDED)),
    "decided": ("Decided", tuple(frozenset(ProposalState) - UNDECIDED)),
    "all": ("All", tuple(ProposalState)),
}


async def get_proposals(request: web.Request) -> web.Response:
    """List the proposals that change keys of the caller, the latest first."""
    shown = request.query.get("show", "review")
    shown = shown if shown in FILTERS else "review"
    author = request[CALLER].actor if shown == "mine" else None
    before = wire.before(request.query)
    try:
        items = await _list(request, FILTERS[shown][1], author, before, _PAGE_SIZE + 1)
        inbox = await _inbox(request)
    except Unavailable as error:
        return page(
            request, "proposals/list.html", status=503, problem=error.message, rows=(), shown=shown
        )
    more = len(items) > _PAGE_SIZE
    items = items[:_PAGE_SIZE]
    return page(
        request,
        "proposals/list.html",
        problem="",
        shown=shown,
        inbox=inbox,
        filters={name: text for name, (text, _) in FILTERS.items()},
        rows=[proposal_row(request, item) for item in items],
        next_before=items[-1].id if more else None,
    )


async def get_waiting_count(request: web.Request) -> web.Response:
    """Get the number of proposals in the inbox of the caller, for the menu."""
    try:
        inbox = await _read_inbox(request)
    except Unavailable:
        return web.Response(status=204)
    return page(request, "proposals/count.html", count=inbox.count)


async def get_proposal(request: web.Request) -> web.Response:
    """Show a proposal: what it would change, who approved it, and the conversation.

    Its authors have read its news then.
    """
    response = await proposal_page(request)
    if request.method == "GET":
        actor, id_ = request[CALLER].actor, read_id(request)
        with suppress(Unavailable):
            await request.app[DATABASE].transact(lambda c: mark_read(c, actor, id_))
    return response


async def proposal_page(
    request: web.Request, error: AppError | None = None, **fields: Any
) -> web.Response:
    """Return the page of the path's proposal. `fields` is what was typed before an error."""
    async with request.app[DATABASE].connection() as connection:
        proposal = await store.find(connection, read_id(request))
        shown = await steps.view_of(request, connection, proposal)
    reviews, problem = await _reviews(request, proposal, shown)
    return page(
        request,
        "proposals/proposal.html",
        status=200 if error is None else problems.STATUS[type(error)],
        row=proposal_row(request, shown),
        actions=possible_actions(request, shown),
        may_publish=may_apply_in_emergency(request, shown),
        reviews=reviews,
        problem=problem,
        conversation=conversation(request, shown),
        is_new="new" in request.query,
        is_done=request.query.get("done", ""),
        errors=FormErrors() if error is None else FormErrors.of(error),
        fields=fields,
    )


async def _reviews(
    request: web.Request, proposal: Proposal, shown: ProposalView
) -> tuple[list[Any], str]:
    """Return what an undecided proposal would change, or why that is unknown."""
    if shown.state not in UNDECIDED:
        return [], ""
    try:
        previewed = await preview(request, proposal, shown.environments)
    except AppError as error:
        return [], error.message
    return await in_turn(
        "words", lambda: [environment_review(item) for item in previewed.environments]
    ), ""


async def _read_inbox(request: web.Request) -> Inbox:
    caller, key = request[CALLER], request.app[TOKENS].key
    protections = {
        environment.name: environment.protection
        for environment in request.app[FOLLOWER].environments().values()
        if environment.protection is not None
    }
    async with request.app[DATABASE].connection() as connection:
        return await read_inbox(connection, key, caller.actor, caller.rights, protections)


async def _inbox(request: web.Request) -> InboxRows:
    """Return what waits for the caller, and the news of their own proposals, for the page."""
    inbox = await _read_inbox(request)
    ids = [*inbox.waiting, *inbox.news]
    async with request.app[DATABASE].connection() as connection:
        shown = await summaries(
            *(connection, request[CALLER].rights),
            states=tuple(ProposalState),
            page_size=len(ids),
            ids=ids,
        )
    rows = {item.id: proposal_row(request, item) for item in shown}
    return inbox_rows(inbox, rows)


async def _list(
    request: web.Request,
    states: tuple[ProposalState, ...],
    author: str | None,
    before: int,
    limit: int,
) -> list[ProposalSummary]:
    async with request.app[DATABASE].connection() as connection:
        return await summaries(
            *(connection, request[CALLER].rights),
            states=states,
            page_size=limit,
            before=before,
            author=author,
        )
