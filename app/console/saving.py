"""Saving of what a page edits: a change set with a message, by the services of the API."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

from aiohttp import web

from app.access.guard import CALLER
from app.access.models import Scope
from app.access.refusals import environment_foreign, scope_missing
from app.configuration.changes import writes
from app.configuration.changes.intents import contents_of, intents_of
from app.configuration.changes.models import MESSAGE_MAX
from app.configuration.changes.requests import (
    OPERATIONS_MAX,
    DeleteOperation,
    NewChangeSet,
    PatchOperation,
    PutOperation,
)
from app.configuration.changes.views import AppliedChangeSets
from app.configuration.changes.write_requests import CHECKS, run_change_sets
from app.configuration.proposals import steps
from app.configuration.snapshots.reading import FOLLOWER
from app.console.confirmation import check_confirmation
from app.console.emergency import read_authority
from app.console.forms import Form
from app.console.state import read_moment
from app.database import Connection
from app.errors import ApprovalRequired, Conflict, invalid
from app.secrets.reveal import VAULT


async def save(
    request: web.Request,
    operations: Sequence[PutOperation | DeleteOperation | PatchOperation],
    message: str,
    *,
    confirmation: Form | None = None,
    dry_run: bool = False,
) -> AppliedChangeSets:
    """Write the operations as the API's change sets do, and wait until they are served here.

    `confirmation` is as for `write`. Each operation names the version that its entry must have; so
    nothing is overwritten. Raises Stale when another change came first, Invalid with the field of
    each broken rule, Forbidden, and Conflict on a page of the past.
    """
    check_message(message)
    check_present(request)
    if not 1 <= len(operations) <= OPERATIONS_MAX:
        raise invalid("operations", f"must be 1 to {OPERATIONS_MAX}")
    environment = request.match_info["environment"]
    for name in {operation.environment or environment for operation in operations}:
        check_grant(request, name, Scope.PROPOSE)
    body = NewChangeSet(operations=list(operations), message=message)
    intents = await request.app[CHECKS].run(
        contents_of(body), lambda check: intents_of(body, environment, check)
    )
    actor, vault = request[CALLER].actor, request.app[VAULT]
    authority = read_authority(request, message, dry_run=dry_run)
    return await write(
        request,
        lambda c: writes.apply(
            c, intents, actor=actor, message=message, vault=vault, authority=authority
        ),
        confirmation=confirmation,
        dry_run=dry_run,
    )


class SavedAsProposalError(Exception):
    """A write in a protected environment became a proposal. `with_pages` leads to its page."""

    def __init__(self, proposal: int) -> None:
        super().__init__(proposal)
        self.proposal = proposal


async def write(
    request: web.Request,
    work: Callable[[Connection], Awaitable[AppliedChangeSets]],
    *,
    confirmation: Form | None = None,
    dry_run: bool = False,
) -> AppliedChangeSets:
    """Run work that writes change sets, as `run_change_sets`.

    `confirmation` is the form of a costly write: where the name of the environment must be typed,
    the form must have it. A proposal changes nothing yet, so it needs no name: only the transaction
    knows which of the two it is.

    Raises SavedAsProposalError instead of ApprovalRequired: what needs approvals is proposed.
    """

    async def confirmed(connection: Connection) -> AppliedChangeSets:
        written = await work(connection)
        if confirmation is not None and not dry_run:
            for change_set in written.change_sets:
                check_confirmation(
                    confirmation, request.app[FOLLOWER].require(change_set.environment)
                )
        return written

    async with proposing(request):
        return await run_change_sets(request, confirmed, dry_run=dry_run)


@asynccontextmanager
async def proposing(request: web.Request) -> AsyncIterator[None]:
    """Propose a write that needs approvals: raise SavedAsProposalError for ApprovalRequired."""
    try:
        yield
    except ApprovalRequired as error:
        change_set = error.change_set
    else:
        return
    proposal = await steps.propose(request, change_set)
    raise SavedAsProposalError(proposal.id)


def check_present(request: web.Request) -> None:
    """Raise Conflict on a page of the past."""
    if read_moment(request) is not None:
        raise Conflict("past_fixed", "The past cannot be changed. Open this page as it is now.")


def check_message(message: str) -> None:
    """Raise Invalid when the message is too long."""
    if len(message) > MESSAGE_MAX:
        raise invalid("message", f"must have at most {MESSAGE_MAX} characters")


def check_grant(request: web.Request, environment: str, scope: Scope) -> None:
    """Raise Forbidden when the caller lacks a scope in an environment."""
    rights = request[CALLER].rights
    if not rights.has(scope):
        raise scope_missing(scope)
    if not rights.covers(scope, environment):
        raise environment_foreign(f"the environment {environment}")
