"""Count the approvals of a proposal in each environment.

An approval counts while the token of its actor may write in the environment. So revoking a token
ends its approvals, and those of an edited version are over. A token that replaces another one is
the same person.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from app.access.models import EVERY_ENVIRONMENT, Grant, Scope
from app.configuration.changes.approvals import Authority, missing_approvals
from app.configuration.proposals.models import Proposal
from app.database import Connection, sql
from app.environments import service as environments
from app.errors import Conflict, Forbidden, Violation
from app.names import counted

# An operator at the host may do everything.
OPERATOR = Grant(
    scopes=frozenset(Scope), environments=frozenset({EVERY_ENVIRONMENT}), expires_at=None
)
_NO_GRANT = Grant(scopes=frozenset(), environments=frozenset(), expires_at=None)
_TOKEN = "token:"  # noqa: S105 - a prefix


@dataclass(frozen=True, kw_only=True)
class Approver:
    """Who an actor is, and where they may write now.

    `name` is the same for a token and its successors. An operator at the host has no token: what
    they approved stays approved.
    """

    name: str
    grant: Grant

    def may_write(self, environment: str) -> bool:
        return self.grant.allows(Scope.WRITE) and self.grant.covers(environment)


async def people(connection: Connection, actors: Iterable[str]) -> dict[str, Approver]:
    """Return the person of each actor. One whose token is not valid has no scopes."""
    actors = set(actors)
    ids = sorted(actor.removeprefix(_TOKEN) for actor in actors if actor.startswith(_TOKEN))
    rows = {row["id"]: row async for row in sql.list_holders(connection, actors=ids)} if ids else {}
    known = {}
    for actor in actors:
        row = rows.get(actor.removeprefix(_TOKEN))
        if not actor.startswith(_TOKEN):
            known[actor] = Approver(name=actor, grant=OPERATOR)
        elif row is None or not row["is_usable"]:
            name = actor if row is None else _TOKEN + row["root"]
            known[actor] = Approver(name=name, grant=_NO_GRANT)
        else:
            grant = Grant(
                scopes=frozenset(scope for scope in Scope if scope in row["scopes"]),
                environments=frozenset(row["environments"]),
                expires_at=None,
            )
            known[actor] = Approver(name=_TOKEN + row["root"], grant=grant)
    return known


async def authorities(connection: Connection, proposal: Proposal) -> dict[str, Authority]:
    """Return the approvals that count in each environment, each of another person."""
    approvals = proposal.approvals
    known = await people(connection, {*proposal.authors, *(event.actor for event in approvals)})
    authors = {known[actor].name for actor in proposal.authors}
    found = {}
    for environment in proposal.environments:
        approvers: dict[str, str] = {}
        for event in approvals:
            person = known[event.actor]
            if environment in event.environments and person.may_write(environment):
                approvers.setdefault(person.name, event.actor)
        found[environment] = Authority(
            proposal=str(proposal.id),
            approvers=frozenset(approvers.values()),
            authors=frozenset(actor for name, actor in approvers.items() if name in authors),
        )
    return found


async def missing(
    connection: Connection, proposal: Proposal, required: Mapping[str, int]
) -> dict[str, int]:
    """Return how many approvals each environment lacks, without those that lack none."""
    lacking = {}
    known = await authorities(connection, proposal)
    for name in proposal.environments:
        if not required.get(name):
            continue
        protection = (await environments.get(connection, name)).protection
        if protection is not None and (count := missing_approvals(protection, known[name])):
            lacking[name] = count
    return lacking


def approvals_missing(lacking: Mapping[str, int]) -> Conflict:
    violations = [
        Violation(name, f"needs {counted(count, 'more approval')}")
        for name, count in lacking.items()
    ]
    text = "; ".join(f"{item.field} {item.rule}" for item in violations)
    return Conflict("approvals_missing", f"The proposal lacks approvals: {text}.", violations)


async def approvable(
    connection: Connection, proposal: Proposal, actor: str, grant: Grant
) -> list[str]:
    """Return the environments that an actor approves for.

    Raises Forbidden for an author, and Conflict for a second approval of the same version.
    """
    names = [name for name in proposal.environments if grant.covers(name)]
    approvers = {event.actor for event in proposal.approvals}
    known = await people(connection, {actor, *proposal.authors, *approvers})
    person = known[actor].name
    if any(known[other].name == person for other in approvers):
        raise Conflict("approval_given", "You have already approved this version of the proposal.")
    if any(known[other].name == person for other in proposal.authors):
        names = [name for name in names if await _allows_own(connection, name)]
        if not names:
            raise Forbidden(
                "approval_own",
                "An author or editor of a proposal cannot approve it. Ask another person.",
            )
    return names


async def _allows_own(connection: Connection, name: str) -> bool:
    protection = (await environments.get(connection, name)).protection
    return protection is not None and protection.self_approval
