"""Check the promises of proposals: applied at most once, approved, fresh, and never lost."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from tests.process.history.past import Past, Violation
from tests.process.history.people import APPROVALS, PROTECTING
from tests.process.history.records import Action, ChangeSet, FinalProposal
from tests.process.history.wishes import PROTECTED

# 403: an author may not approve. 409: another person was faster, or the proposal is stale.
_ANSWERS = {0, 200, 201, 403, 404, 409, 412, 503}
# Database and service read the clock at different moments of a transaction.
_CLOCK_SECONDS = 0.01
# The event that each acknowledged action leaves.
_EVENTS = {
    "create": "submitted",
    "edit": "edited",
    "approve": "approved",
    "reject": "rejected",
    "schedule": "scheduled",
    "unschedule": "unscheduled",
    "withdraw": "withdrawn",
    "apply": "applied",
}


def check_proposals(
    actions: Sequence[Action], proposals: Sequence[FinalProposal], pasts: Mapping[str, Past]
) -> Iterator[Violation]:
    """Yield each broken promise of proposals, and of the environment that they protect."""
    change_sets = pasts[PROTECTED].final.change_sets if PROTECTED in pasts else ()
    made: dict[int, list[ChangeSet]] = defaultdict(list)
    for change_set in change_sets:
        if change_set.approval is not None:
            made[change_set.approval.proposal].append(change_set)
        elif change_set.message != PROTECTING:
            yield Violation("applied_unapproved", f"{PROTECTED}:{change_set.revision}")
    known = {proposal.id: proposal for proposal in proposals}
    for id_ in made.keys() - known.keys():
        yield Violation("applied_unapproved", f"there is no proposal {id_}")
    yield from _acknowledged(actions, known, made)
    for proposal in proposals:
        yield from _marked(proposal, made[proposal.id])
        for change_set in made[proposal.id]:
            yield from _approved(proposal, change_set)
            yield from _fresh(proposal, change_set)
            yield from _in_time(proposal, change_set, actions)


def _acknowledged(
    actions: Sequence[Action],
    known: Mapping[int, FinalProposal],
    made: Mapping[int, Sequence[ChangeSet]],
) -> Iterator[Violation]:
    """Each acknowledged action has its event, and an application its change set."""
    for action in actions:
        where = f"{action.kind} of {action.proposal} by {action.actor}: {action.status}"
        if action.status not in _ANSWERS:
            yield Violation("answer_unexpected", where)
        if action.status not in {200, 201}:
            continue
        if action.kind == "write":
            yield Violation("applied_unapproved", where)
            continue
        proposal = known.get(action.proposal)
        event = _EVENTS[action.kind]
        if proposal is None or not any(
            (item.name, item.actor, item.version) == (event, action.actor, action.version)
            for item in proposal.events
        ):
            yield Violation("action_lost", where)
        if action.kind == "apply":
            revisions = [item.revision for item in made[action.proposal]]
            if action.applied.get(PROTECTED) not in revisions:
                yield Violation("apply_lost", f"{where} said {action.applied}")


def _marked(proposal: FinalProposal, made: Sequence[ChangeSet]) -> Iterator[Violation]:
    """A proposal has one change set if it is marked as applied, otherwise none."""
    revisions = [change_set.revision for change_set in made]
    events = [event.name for event in proposal.events]
    where = f"proposal {proposal.id} is {proposal.state}, in revisions {revisions}"
    if len(revisions) > 1 or events.count("applied") > 1:
        yield Violation("applied_twice", where)
    marked = list((proposal.applied or {}).values())
    is_applied = proposal.state == "applied"
    if marked != revisions[:1] or is_applied != bool(made) or is_applied != ("applied" in events):
        yield Violation("mark_differs", where)
    if proposal.state == "scheduled":
        yield Violation("schedule_lost", where)
    if proposal.state == "failed" and not proposal.reason:
        yield Violation("failed_without_reason", where)


def _approved(proposal: FinalProposal, change_set: ChangeSet) -> Iterator[Violation]:
    """Enough people approved the last version, and none of them wrote a version."""
    assert change_set.approval is not None
    authors = {event.actor for event in proposal.events if event.name == "edited"}
    approvers = {
        event.actor
        for event in proposal.events
        if event.name == "approved" and event.version == proposal.version
    } - {proposal.author, *authors}
    if len(approvers) < APPROVALS or set(change_set.approval.approvers) != approvers:
        yield Violation("applied_unapproved", f"proposal {proposal.id}: {sorted(approvers)}")


def _fresh(proposal: FinalProposal, change_set: ChangeSet) -> Iterator[Violation]:
    """The change set makes exactly the proposed changes of the versions that the author saw."""
    wanted = {(item.key, item.version, item.value) for item in proposal.operations}
    changes = {
        (
            change.key,
            change.before.version if change.before else 0,
            change.after.value if change.after else None,
        )
        for change in change_set.changes
    }
    if changes != wanted:
        yield Violation("applied_stale", f"proposal {proposal.id}: {changes}, not {wanted}")


def _in_time(
    proposal: FinalProposal, change_set: ChangeSet, actions: Sequence[Action]
) -> Iterator[Violation]:
    """A scheduled proposal that no person applied is applied at its time."""
    is_by_hand = any(
        action.kind == "apply" and action.proposal == proposal.id and action.status in {0, 200, 503}
        for action in actions
    )
    if proposal.apply_at is None or proposal.expires_after_seconds is None or is_by_hand:
        return
    late = change_set.at - proposal.apply_at
    if not -_CLOCK_SECONDS <= late <= proposal.expires_after_seconds + _CLOCK_SECONDS:
        yield Violation("applied_out_of_time", f"proposal {proposal.id}: {late:.3f} s late")
