"""What an applied proposal changed: its change sets, with the people who allowed it."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

from aiohttp import web

from app.access.guard import readable_keys
from app.configuration.changes import history
from app.configuration.changes.views import ChangeSetView
from app.configuration.proposals.states import Action
from app.configuration.proposals.views import ProposalView
from app.console.actors import NamedActor, actor_of
from app.console.changes.views import ChangeSetDetails, change_set_details
from app.errors import NotFound
from app.http.keys import DATABASE
from app.threads import in_turn

# Keys of an environment on the page. The page of the revision has all.
_KEYS_MAX = 50


@dataclass(frozen=True, kw_only=True)
class AppliedChanges:
    """The change set of one environment. Without approvers, it needed no approval."""

    name: str
    revision: int
    approvers: Sequence[NamedActor]
    is_emergency: bool
    details: ChangeSetDetails


@dataclass(frozen=True, kw_only=True)
class Application:
    """Who applied a proposal and when, with what it changed in each environment."""

    actor: NamedActor
    at: datetime
    changes: Sequence[AppliedChanges]


async def read_application(request: web.Request, proposal: ProposalView) -> Application | None:
    """Return the application of a proposal, None if it is not applied."""
    event = next((item for item in proposal.events if item.event == Action.APPLY), None)
    if event is None or not proposal.applied:
        return None
    change_sets = []
    async with request.app[DATABASE].connection() as connection:
        for name, revision in proposal.applied.items():
            # Its environment may be deleted since.
            with suppress(NotFound):
                keys = readable_keys(request, name)
                change_set = await history.get_change_set(
                    connection, name, revision, keys=keys, limit=_KEYS_MAX
                )
                change_sets.append((name, change_set))
    return Application(
        actor=actor_of(request, event.actor, event.actor_name),
        at=event.at,
        changes=await in_turn("words", lambda: [_changes(request, *item) for item in change_sets]),
    )


def _changes(request: web.Request, name: str, change_set: ChangeSetView) -> AppliedChanges:
    approval = change_set.approval
    approvers = (
        () if approval is None else zip(approval.approvers, approval.approver_names, strict=True)
    )
    return AppliedChanges(
        name=name,
        revision=change_set.revision,
        approvers=[actor_of(request, actor, actor_name) for actor, actor_name in approvers],
        is_emergency=approval is not None and approval.emergency,
        details=change_set_details(change_set),
    )
