"""Plain data of proposals for the templates."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from aiohttp import web

from app.access.guard import CALLER
from app.access.models import Scope
from app.configuration.changes.authority import name_of
from app.configuration.changes.views import EntryView
from app.configuration.proposals.inbox import Inbox
from app.configuration.proposals.models import authors_of, key_of
from app.configuration.proposals.states import IN_REVIEW, Action, ProposalState, possible
from app.configuration.proposals.views import ProposalSummary, ProposalView
from app.configuration.snapshots.reading import FOLLOWER
from app.console.actors import NamedActor, actor_of
from app.console.changes.effect import Effect, FlagEffect, in_words
from app.console.changes.views import ChangeSetDetails, change_set_details
from app.console.json_text import DiffLine, diff
from app.flags.change_words.sentences import Tense
from app.flags.preview_views import FlagPreview, Refusal
from app.flags.proposals.views import EnvironmentPreview
from app.names import first_words

# Of the badge that says the state: its look and its icon.
_LOOKS = {
    ProposalState.DRAFT: ("", "pencil"),
    ProposalState.OPEN: ("info", "eye"),
    ProposalState.APPROVED: ("on", "check"),
    ProposalState.SCHEDULED: ("info", "clock"),
    ProposalState.APPLIED: ("on", "circle-check"),
    ProposalState.FAILED: ("danger", "circle-x"),
    ProposalState.REJECTED: ("danger", "circle-x"),
    ProposalState.WITHDRAWN: ("", "undo-2"),
}
# Keys of an environment in the inbox.
_KEYS_SHOWN = 3
_EVENTS = {
    "created": "created it",
    "edited": "edited it",
    "submitted": "submitted it",
    "approved": "approved it",
    "rejected": "rejected it",
    "commented": "commented",
    "scheduled": "scheduled it",
    "unscheduled": "ended the schedule",
    "applied": "applied it",
    "failed": "could not apply it",
    "withdrawn": "withdrew it",
}


@dataclass(frozen=True, kw_only=True)
class ProposalRow:
    """A proposal in the inbox."""

    view: ProposalSummary
    author: NamedActor
    look: str
    image: str


@dataclass(frozen=True, kw_only=True)
class InboxRow:
    """An own proposal with news. `text` says what is new."""

    row: ProposalRow
    text: str


@dataclass(frozen=True, kw_only=True)
class InboxRows:
    """`waiting` has the keys that wait for the approval of the caller, by proposal."""

    waiting: Mapping[int, str]
    news: Sequence[InboxRow]


@dataclass(frozen=True, kw_only=True)
class ConversationRow:
    """An event of a proposal. `version` is that of the proposal then."""

    actor: NamedActor
    words: str
    text: str
    version: int
    at: object


@dataclass(frozen=True, kw_only=True)
class MovedKeyDiff:
    """A key that has changed since the author saw it, as two diffs from what the author saw."""

    key: str
    theirs: Sequence[DiffLine]
    yours: Sequence[DiffLine]


@dataclass(frozen=True, kw_only=True)
class EnvironmentReview:
    """What a proposal would change in one environment."""

    name: str
    details: ChangeSetDetails
    refusals: Sequence[Refusal]
    moved: Sequence[MovedKeyDiff]
    properties_moved: bool
    effect: Effect
    guards: Sequence[tuple[str, str, bool]]


def proposal_row(request: web.Request, view: ProposalSummary) -> ProposalRow:
    look, image = _LOOKS[view.state]
    return ProposalRow(
        view=view, author=actor_of(request, view.author, view.author_name), look=look, image=image
    )


def inbox_rows(inbox: Inbox, rows: Mapping[int, ProposalRow]) -> InboxRows:
    """Return the inbox for the page. `rows` has the proposals that the caller may read."""
    return InboxRows(
        waiting={id_: _keys_text(keys) for id_, keys in inbox.waiting.items()},
        news=[
            InboxRow(row=rows[id_], text=f"New: {', '.join(events)}")
            for id_, events in inbox.news.items()
            if id_ in rows
        ],
    )


def _keys_text(keys: Mapping[str, Sequence[str]]) -> str:
    """Return the first keys of each environment, such as "payments/a and 2 more in production"."""
    return "; ".join(
        f"{first_words(list(map(name_of, names)), _KEYS_SHOWN)} in {environment}"
        for environment, names in keys.items()
    )


def conversation(request: web.Request, proposal: ProposalView) -> list[ConversationRow]:
    return [
        ConversationRow(
            actor=actor_of(request, event.actor, event.actor_name),
            words=_EVENTS.get(event.event, event.event),
            text=event.text,
            version=event.version,
            at=event.at,
        )
        for event in proposal.events
    ]


def possible_actions(request: web.Request, proposal: ProposalView) -> frozenset[Action]:
    """Return what the caller may try, by rights and state. The service decides."""
    actions = {action for action in Action if possible(action, proposal.state)}
    if not _has(request, proposal, Scope.APPROVE, any):
        actions -= {Action.APPROVE, Action.REJECT}
    if not _has(request, proposal, Scope.PROPOSE):
        actions -= {Action.EDIT, Action.SUBMIT, Action.WITHDRAW}
    if not _has(request, proposal, Scope.WRITE):
        actions -= {Action.SCHEDULE, Action.UNSCHEDULE, Action.APPLY}
    is_author = request[CALLER].actor in authors_of(proposal.events)
    if is_author and not _allows_own(request, proposal):
        actions -= {Action.APPROVE}
    if not is_author:
        actions -= {Action.WITHDRAW}
        if _has(request, proposal, Scope.ADMIN) and possible(Action.WITHDRAW, proposal.state):
            actions |= {Action.WITHDRAW}
    lacks = any(item.missing for item in proposal.approvals)
    if lacks or proposal.state not in IN_REVIEW:
        actions -= {Action.SCHEDULE, Action.APPLY}
    if proposal.state is ProposalState.SCHEDULED:
        actions -= {Action.SCHEDULE}
    return frozenset(actions)


def _has(
    request: web.Request,
    proposal: ProposalView,
    scope: Scope,
    combine: Callable[[Iterable[bool]], bool] = all,
) -> bool:
    """Return whether the caller has a scope for all keys of a proposal, or with `any` for one."""
    rights = request[CALLER].rights
    held = (
        key_of(item) in rights.keys(scope, item.environment or "") for item in proposal.operations
    )
    is_hidden = proposal.is_partial and combine is all
    return not is_hidden and combine(held)


def _allows_own(request: web.Request, proposal: ProposalView) -> bool:
    protections = (
        environment.protection
        for environment in request.app[FOLLOWER].environments().values()
        if environment.name in proposal.environments
    )
    return any(protection is not None and protection.self_approval for protection in protections)


def may_apply_in_emergency(request: web.Request, proposal: ProposalView) -> bool:
    lacks = any(item.missing for item in proposal.approvals)
    scopes = (Scope.WRITE, Scope.PUBLISH)
    return lacks and all(_has(request, proposal, scope) for scope in scopes)


def environment_review(preview: EnvironmentPreview) -> EnvironmentReview:
    """Return the changes in words, as JSON and in numbers. Values may be large: use a thread."""
    return EnvironmentReview(
        name=preview.environment,
        details=change_set_details(preview, Tense.PLANNED),
        refusals=preview.refusals,
        moved=[
            MovedKeyDiff(
                key=item.key,
                theirs=_difference(item.base, item.theirs),
                yours=_difference(item.base, item.yours),
            )
            for item in preview.conflicts
        ],
        properties_moved=preview.properties_moved,
        effect=Effect(
            flags=list(map(_effect, preview.flags)),
            flags_count=preview.flags_count,
            is_complete=preview.is_complete,
        ),
        guards=[
            (flag.key, guard.name or f"guard {guard.position + 1}", guard.holds)
            for flag in preview.flags
            for guard in flag.guards
        ],
    )


def _effect(flag: FlagPreview) -> FlagEffect:
    movements = [in_words(movement) for movement in flag.sample.movements if movement.changed]
    return FlagEffect(
        key=flag.key,
        keys=flag.sample.keys,
        changed=flag.sample.changed,
        movements=movements,
    )


def _difference(before: EntryView | None, after: EntryView | None) -> list[DiffLine]:
    values = (None if entry is None else entry.value for entry in (before, after))
    lines = diff(*values)
    return [DiffLine("…", "too many lines to compare")] if lines is None else lines
