"""The gate of protected environments: which writes need approval, and what may allow them.

`service.prepare` asks it for every change set, under the lock of the environment. A flag that a
covered flag needs is covered too, and so is a segment that either uses: they decide what the
covered flag serves.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import msgspec

from app.access.models import Scope
from app.configuration.changes.authority import (
    PROPERTIES,
    Authority,
    name_of,
    require_keys,
)
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


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What the change set stores.

    `covered` has the keys that the protection covers, and `lacking` those of them that lack
    approvals. `proposable` has the keys that the author may only propose.
    """

    approval: Approval | None = None
    covered: Sequence[str] = ()
    lacking: Sequence[str] = ()
    proposable: Sequence[str] = ()

    @property
    def is_refused(self) -> bool:
        return bool(self.lacking or self.proposable)


async def decide(
    connection: Connection,
    head: Environment,
    changes: Sequence[Change],
    properties: PropertiesChange | None,
    authority: Authority,
    proposable: Sequence[str] = (),
) -> Verdict:
    """Return what allows a change set of a locked environment, or what it lacks.

    `proposable` are the keys that the author may only propose. Raises Forbidden for an emergency if
    the author may not publish a covered key.
    """
    proposal = None
    if authority.proposal is not None:
        approvers = tuple(sorted(authority.approvers))
        proposal = Approval(proposal=authority.proposal, approvers=approvers)
    if head.protection is None:
        return Verdict(approval=proposal, proposable=proposable)
    covered = await covered_keys(connection, head.name, head.protection, changes, properties)
    verdict = Verdict(approval=proposal, covered=covered, proposable=proposable)
    lacking = covered
    if authority.proposal is not None:
        lacking = list(missing_approvals(head.protection, authority, covered))
    if not lacking:
        return verdict
    if authority.emergency:
        require_keys(authority.rights, Scope.PUBLISH, head.name, covered)
        emergency = msgspec.structs.replace(proposal or Approval(), emergency=True)
        return replace(verdict, approval=emergency)
    return replace(verdict, lacking=lacking)


def missing_approvals(
    protection: Protection, authority: Authority, covered: Iterable[str]
) -> dict[str, int]:
    """Return how many approvals a proposal lacks for each covered key that lacks any.

    An approval counts for the keys that its giver may approve.
    """
    counted = [
        keys
        for actor, keys in authority.approvers.items()
        if protection.self_approval or actor not in authority.authors
    ]
    given = {key: sum(key in keys for keys in counted) for key in covered}
    return {
        key: protection.approvals - count
        for key, count in given.items()
        if count < protection.approvals
    }


async def covered_keys(
    connection: Connection,
    environment: str,
    protection: Protection,
    changes: Sequence[Change],
    properties: PropertiesChange | None,
) -> list[str]:
    """Return the changed keys that are covered, and PROPERTIES for those of the environment.

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
    """Return the sentence and the violations of a write that needs a proposal."""
    texts, violations = [], []
    if verdict.lacking:
        protection = head.protection or Protection()
        needed = counted(protection.approvals, "approval")
        texts.append(f"{head.name} is protected: the change needs {needed}.")
        violations += [_violation(key, f"is protected in {head.name}") for key in verdict.lacking]
    if verdict.proposable:
        texts.append(f"In {head.name} you may propose the change, and not write it.")
        rule = f"needs the scope write in {head.name}"
        others = set(verdict.proposable).difference(verdict.lacking)
        violations += [_violation(key, rule) for key in sorted(others)]
    return " ".join([*texts, "Create a proposal for it."]), violations


def _violation(key: str, rule: str) -> Violation:
    return Violation(name_of(key), rule)
