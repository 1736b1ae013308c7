"""The gate of protected environments: which writes need approval, and what may allow them.

`service.prepare` asks it for every change set, under the lock of the environment. A flag that a
covered flag needs is covered too, and so is a segment that either uses: they decide what the
covered flag serves.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from app.configuration.changes.json_patch import have_same_content
from app.configuration.changes.models import Change, Kind, PropertiesChange
from app.configuration.changes.offload import run_by_size
from app.configuration.changes.prerequisites import read_flag_users
from app.configuration.changes.properties import have_same_properties
from app.configuration.changes.references import reachable
from app.database import Connection, sql
from app.environments.models import Environment
from app.environments.protection import Approval, Protection
from app.errors import Violation
from app.names import counted

PROPERTIES = "properties"


@dataclass(frozen=True, kw_only=True)
class Authority:
    """What allows a write in a protected environment.

    `proposal` is the ID of a proposal that the `approvers` have approved; their actors and those of
    its `authors` are compared. `emergency` needs no approval: the caller has checked the scope
    publish, and that the message gives a reason. `is_dry_run` reports a lack of approvals in the
    change set instead of raising: the caller must roll back.
    """

    proposal: str | None = None
    approvers: frozenset[str] = frozenset()
    authors: frozenset[str] = frozenset()
    emergency: bool = False
    is_dry_run: bool = False


NO_AUTHORITY = Authority()


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What the change set stores. `covered` names what lacks approvals."""

    approval: Approval | None = None
    covered: Sequence[str] = ()


async def decide(
    connection: Connection,
    head: Environment,
    changes: Sequence[Change],
    properties: PropertiesChange | None,
    authority: Authority,
) -> Verdict:
    """Return what allows a change set of a locked environment, or what it lacks."""
    proposal = None
    if authority.proposal is not None:
        approvers = tuple(sorted(authority.approvers))
        proposal = Approval(proposal=authority.proposal, approvers=approvers)
    if head.protection is None:
        return Verdict(approval=proposal)
    covered = await covered_names(connection, head.name, head.protection, changes, properties)
    if not covered or (proposal and missing_approvals(head.protection, authority) == 0):
        return Verdict(approval=proposal)
    if authority.emergency:
        emergency = proposal or Approval()
        return Verdict(approval=msgspec.structs.replace(emergency, emergency=True))
    return Verdict(approval=proposal, covered=covered)


def missing_approvals(protection: Protection, authority: Authority) -> int:
    """Return how many approvals a proposal lacks."""
    approvers = authority.approvers
    if not protection.self_approval:
        approvers = approvers - authority.authors
    return max(0, protection.approvals - len(approvers))


async def covered_names(
    connection: Connection,
    environment: str,
    protection: Protection,
    changes: Sequence[Change],
    properties: PropertiesChange | None,
) -> list[str]:
    """Return the changed keys that are covered, and "properties" for those of the environment.

    A key that gets the content that it has is not changed.
    """
    changed = await run_by_size(
        changes, "compare", lambda: [change for change in changes if _is_change(change)]
    )
    covered = [change.key for change in changed if protection.covers(change.key)]
    if properties is not None and not have_same_properties(properties.before, properties.after):
        covered.append(PROPERTIES)
    others = [change for change in changed if not protection.covers(change.key)]
    segments = [change.key for change in others if _has_kind(change, Kind.SEGMENT)]
    flags = [change.key for change in others if _has_kind(change, Kind.FLAG)]
    using = set[str]()
    if segments:
        rows = sql.list_segment_users(
            connection, environment=environment, segments=segments, changed=[]
        )
        using = {row["key"] async for row in rows}
    if not flags and not using:
        return covered
    users = await read_flag_users(connection, environment, {*flags, *using})
    needs = {key: {need.flag for need in flag.needs} for key, flag in users.items()}
    needed = reachable({key for key in users if protection.covers(key)}, needs)
    if using & needed:
        covered += segments
    return covered + [key for key in flags if key in needed]


def _is_change(change: Change) -> bool:
    before, after = change.before.content, change.after
    return before is None or after is None or not have_same_content(before, after)


def _has_kind(change: Change, kind: Kind) -> bool:
    return any(
        content is not None and content.kind is kind
        for content in (change.before.content, change.after)
    )


def refusal(head: Environment, verdict: Verdict) -> tuple[str, list[Violation]]:
    """Return the sentence and the violations of a write that lacks approvals."""
    protection = head.protection or Protection()
    needed = counted(protection.approvals, "approval")
    return (
        f"{head.name} is protected: the change needs {needed}. Create a proposal for it.",
        [Violation(name, f"is protected in {head.name}") for name in verdict.covered],
    )
