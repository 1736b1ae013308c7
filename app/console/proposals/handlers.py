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
from app.console.forms import FormErrors, shown_status
from app.console.proposals.applied import read_application
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
from app.http import wire
from app.http.keys import DATABASE
from app.threads import in_turn

_PAGE_SIZE = 50
FILTERS = {
    "review": ("To review", tuple(IN_REVIEW)),
    "mine": ("Mine", tuple(UNDECIDED)),
    "in-review": ("In review", tuple(IN_REVIEW)),
    "decided": ("Decided", tuple(frozenset(ProposalState) - UNDECIDED)),
    "all": ("All", tuple(ProposalState)),
}
_BECOMES = (
    "A change in a protected environment becomes a proposal when it is saved, and so does one by a "
    "person who may only propose."
)
# For each filter the title and the text of a page without proposals.
_EMPTY = {
    "review": (
        "Nothing waits for you",
        (
            "Here are the proposals that you may approve and have not. Those that wait for others "
            "are in the tab In review."
        ),
    ),
    "mine": (
        "You have no open proposal",
        f"{_BECOMES} To make one, edit a flag or a setting.",
    ),
    "in-review": (
        "No proposal is in review",
        f"{_BECOMES} Others approve it before it is applied.",
    ),
    "decided": (
        "No proposal is decided",
        "Here are applied and withdrawn proposals, with what they changed.",
    ),
    "all": (
        "No proposals yet",
        f"{_BECOMES} To protect an environment, set the approvals in its properties.",
    ),
}


async def get_proposals(request: web.Request) -> web.Response:
    """List the proposals that change keys of the caller, the latest first.

    The tab "To review" has those that wait for the approval of the caller.
    """
    shown = request.query.get("show", "review")
    shown = shown if shown in FILTERS else "review"
    author = request[CALLER].actor if shown == "mine" else None
    before = wire.before(request.query)
    try:
        inbox = await _read_inbox(request)
        ids = list(inbox.waiting) if shown == "review" else None
        items = await _list(request, FILTERS[shown][1], author, before, ids)
        news = await _news(request, inbox)
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
        inbox=news,
        empty_text=_EMPTY[shown],
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
    application = await read_application(request, shown)
    return page(
        request,
        "proposals/proposal.html",
        status=shown_status(request, error),
        row=proposal_row(request, shown),
        actions=possible_actions(request, shown),
        may_publish=may_apply_in_emergency(request, shown),
        reviews=reviews,
        application=application,
        problem=problem,
        conversation=conversation(request, shown),
        is_new="new" in request.query,
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


async def _news(request: web.Request, inbox: Inbox) -> InboxRows:
    """Return the inbox for the page, with the proposals that have news."""
    ids = list(inbox.news)
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
    ids: list[int] | None,
) -> list[ProposalSummary]:
    async with request.app[DATABASE].connection() as connection:
        return await summaries(
            *(connection, request[CALLER].rights),
            states=states,
            page_size=_PAGE_SIZE + 1,
            before=before,
            author=author,
            ids=ids,
        )
