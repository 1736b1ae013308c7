"""The inbox of a person: proposals that wait for their approval, and news of their own ones.

For each proposal of a person, the last event that they have seen is stored.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.access.models import Scope
from app.access.people.rights import NO_RIGHTS
from app.access.permissions import Keys, Rights
from app.configuration.changes.approvals import missing_approvals
from app.configuration.changes.authority import Authority
from app.configuration.proposals.approvals import Approver, count, people
from app.configuration.proposals.models import approved_keys_of
from app.configuration.proposals.parts import readable_prefixes
from app.database import Connection, sql
from app.environments.protection import Protection
from app.settings import Secret

# Older proposals are in the list, but not in the inbox.
_REVIEWED_MAX = 200
_NEWS_MAX = 100


@dataclass(frozen=True, kw_only=True)
class Inbox:
    """What waits for a person, and what is new to them, by proposal. The latest comes first.

    `waiting` has the keys that the person may still approve, by environment. `news` has the events
    of their own proposals since they last opened them.
    """

    waiting: Mapping[int, Mapping[str, Sequence[str]]]
    news: Mapping[int, Sequence[str]]

    @property
    def count(self) -> int:
        return len(self.waiting.keys() | self.news.keys())


async def read_inbox(
    connection: Connection,
    key: Secret,
    actor: str,
    rights: Rights,
    protections: Mapping[str, Protection],
) -> Inbox:
    """Return the inbox of an actor. `protections` are those of the environments, by name.

    `key` is that of the MACs of people and grants.
    """
    waiting = {}
    if rights.has(Scope.APPROVE):
        rows = [
            row async for row in sql.list_proposals_in_review(connection, page_size=_REVIEWED_MAX)
        ]
        actors = {actor, *(name for row in rows for name in row["authors"])}
        actors |= {approval["actor"] for row in rows for approval in row["approvals"]}
        known = await people(connection, key, actors)
        for row in rows:
            if keys := _waiting(row, actor, rights, protections, known):
                waiting[row["id"]] = keys
    own_environments, own_prefixes = readable_prefixes(rights)
    listed = sql.list_proposal_news(
        connection,
        actor=actor,
        own_environments=own_environments,
        own_prefixes=own_prefixes,
        page_size=_NEWS_MAX,
    )
    return Inbox(waiting=waiting, news={row["id"]: row["events"] async for row in listed})


def _waiting(
    row: Mapping[str, Any],
    actor: str,
    rights: Rights,
    protections: Mapping[str, Protection],
    known: Mapping[str, Approver],
) -> dict[str, list[str]]:
    """Return the keys that lack approvals and that the actor may approve, by environment."""
    person = known[actor].name
    if any(known[item["actor"]].name == person for item in row["approvals"]):
        return {}
    authors = {known[name].name for name in row["authors"]}
    found = {}
    for name, covered in row["covered"].items():
        protection = protections.get(name)
        if protection is None or (person in authors and not protection.self_approval):
            continue
        own = rights.keys(Scope.APPROVE, name) & rights.keys(Scope.READ, name)
        given: list[tuple[str, Keys]] = [
            (item["actor"], approved_keys_of(item["approved_keys"], item["environments"], name))
            for item in row["approvals"]
        ]
        approvers, own_approvals = count(name, given, known, authors)
        authority = Authority(rights=NO_RIGHTS, approvers=approvers, authors=own_approvals)
        lacking = missing_approvals(protection, authority, [key for key in covered if key in own])
        if lacking:
            found[name] = list(lacking)
    return found


async def mark_read(connection: Connection, actor: str, proposal: int) -> None:
    """Store that an author has seen all events of a proposal."""
    await sql.upsert_proposal_visit(connection, actor=actor, proposal_id=proposal)
