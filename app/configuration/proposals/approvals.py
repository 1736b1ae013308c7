"""Count the approvals of a proposal for each key.

An approval counts for the keys that its actor could read and approve when they gave it, and may
approve now. So revoking a token ends its approvals, and those of an edited version are over. A
token that replaces another one is the same person.
"""

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass

from app.access.models import Scope
from app.access.people.rights import NO_RIGHTS, rights_of
from app.access.permissions import Keys, Rights
from app.access.refusals import proposal_foreign
from app.configuration.changes.approvals import missing_approvals
from app.configuration.changes.authority import Authority, name_of
from app.configuration.proposals.models import (
    Needs,
    Proposal,
    approved_keys_of,
    keys_in,
    lists_in,
)
from app.database import Connection, sql
from app.environments import service as environments
from app.errors import Conflict, Forbidden, Violation
from app.names import counted, first_words
from app.settings import Secret

_TOKEN = "token:"  # noqa: S105 - a prefix
# A refusal names at most 5 keys of an environment.
_NAMED_MAX = 5

# The approvals that each key lacks, by environment and key.
Lacking = Mapping[str, Mapping[str, int]]


@dataclass(frozen=True, kw_only=True)
class Approver:
    """Who an actor is, and their rights now.

    `name` is the same for a token and its successors. An operator at the host has no token: what
    they approved stays approved.
    """

    name: str
    rights: Rights


async def people(connection: Connection, key: Secret, actors: Iterable[str]) -> dict[str, Approver]:
    """Return who each actor is. `key` is that of the MACs of people and grants."""
    actors = set(actors)
    rights = await rights_of(connection, key, actors)
    ids = sorted(actor.removeprefix(_TOKEN) for actor in actors if actor.startswith(_TOKEN))
    roots = {}
    if ids:
        rows = sql.list_holders(connection, actors=ids)
        roots = {_TOKEN + row["id"]: _TOKEN + row["root"] async for row in rows}
    return {actor: Approver(name=roots.get(actor, actor), rights=rights[actor]) for actor in actors}


async def authorities(
    connection: Connection, key: Secret, proposal: Proposal, rights: Rights
) -> dict[str, Authority]:
    """Return the approvals that count in each environment, each of another person.

    `rights` are those of the author of the change sets.
    """
    approvals = proposal.approvals
    known = await people(
        connection, key, {*proposal.authors, *(event.actor for event in approvals)}
    )
    authors = {known[actor].name for actor in proposal.authors}
    found = {}
    for environment in proposal.environments:
        given = [
            (
                event.actor,
                approved_keys_of(
                    proposal.approved_keys.get(event.id), event.environments, environment
                ),
            )
            for event in approvals
        ]
        approvers, own = count(environment, given, known, authors)
        found[environment] = Authority(
            rights=rights,
            proposal=str(proposal.id),
            approvers=approvers,
            authors=own,
            lists=lists_in(proposal.operations, environment),
        )
    return found


def count(
    environment: str,
    given: Iterable[tuple[str, Keys]],
    known: Mapping[str, Approver],
    authors: Container[str],
) -> tuple[dict[str, Keys], frozenset[str]]:
    """Return the keys of each approval that counts, and which approvers are authors.

    `given` has the actors of the approvals, each with the keys at that time. `authors` are names.
    """
    counted: dict[str, tuple[str, Keys]] = {}
    for actor, keys in given:
        person = known[actor]
        if held := person.rights.keys(Scope.APPROVE, environment) & keys:
            counted.setdefault(person.name, (actor, held))
    own = frozenset(actor for name, (actor, _) in counted.items() if name in authors)
    return dict(counted.values()), own


async def missing(connection: Connection, key: Secret, proposal: Proposal, needs: Needs) -> Lacking:
    """Return the keys that lack approvals, in each environment that has such keys."""
    lacking = {}
    known = await authorities(connection, key, proposal, NO_RIGHTS)
    for name in proposal.environments:
        if not needs.covered.get(name):
            continue
        protection = (await environments.get(connection, name)).protection
        if protection is not None and (
            keys := missing_approvals(protection, known[name], needs.covered[name])
        ):
            lacking[name] = keys
    return lacking


def approvals_missing(lacking: Lacking) -> Conflict:
    """Return the refusal for keys that lack approvals."""
    violations = [Violation(name, _needs(keys)) for name, keys in lacking.items()]
    text = "; ".join(f"{item.field} {item.rule}" for item in violations)
    return Conflict("approvals_missing", f"The proposal lacks approvals: {text}.", violations)


def _needs(keys: Mapping[str, int]) -> str:
    needed = counted(max(keys.values()), "more approval")
    return f"needs {needed} for {first_words(list(map(name_of, keys)), _NAMED_MAX)}"


async def approvable(
    connection: Connection, key: Secret, proposal: Proposal, actor: str, rights: Rights
) -> dict[str, Keys]:
    """Return the keys that an actor approves, in each environment that has such keys.

    Raises Forbidden for an author and for an actor who may approve none of the keys, and Conflict
    for a second approval of the same version.
    """
    found = {}
    for name in proposal.environments:
        keys = rights.keys(Scope.APPROVE, name) & rights.keys(Scope.READ, name)
        if any(key in keys for key in keys_in(proposal.operations, name)):
            found[name] = keys
    if not found:
        raise proposal_foreign("the scopes approve and read")
    approvers = {event.actor for event in proposal.approvals}
    known = await people(connection, key, {actor, *proposal.authors, *approvers})
    person = known[actor].name
    if any(known[other].name == person for other in approvers):
        raise Conflict("approval_given", "You have already approved this version of the proposal.")
    if any(known[other].name == person for other in proposal.authors):
        found = {name: keys for name, keys in found.items() if await _allows_own(connection, name)}
        if not found:
            raise Forbidden(
                "approval_own",
                "An author or editor of a proposal cannot approve it. Ask another person.",
            )
    return found


async def _allows_own(connection: Connection, name: str) -> bool:
    protection = (await environments.get(connection, name)).protection
    return protection is not None and protection.self_approval
