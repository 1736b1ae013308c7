"""Who may approve keys: groups, people and tokens with the scope approve, as this process knows."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from app.access.credentials import Credentials
from app.access.models import Scope
from app.access.permissions import Rights

# The names of one key. Installations may have thousands of tokens.
NAMES_MAX = 20


@dataclass(frozen=True, kw_only=True)
class Reviewer:
    """A holder of rights. A person has an actor, whose name is in the database."""

    name: str = ""
    actor: str | None = None
    rights: Rights


def reviewers_in(credentials: Credentials) -> list[Reviewer]:
    """Return who holds the scope approve anywhere: first groups, then people, then tokens."""
    return [item for item in _holders(credentials) if item.rights.has(Scope.APPROVE)]


def _holders(credentials: Credentials) -> Iterator[Reviewer]:
    people, now = credentials.people, credentials.now
    book = people.book
    for group in sorted(book.groups):
        yield Reviewer(name=f"group {group}", rights=book.union(book.of_group(group)))
    for person in sorted(book.people):
        # None: suspended.
        if people.rights(person) is not None:
            rights = book.union(book.held_by(person, ()))
            yield Reviewer(actor=f"person:{person}", rights=rights)
    for token in sorted(credentials.usable.values(), key=lambda token: token.name):
        if not token.is_over(now):
            yield Reviewer(name=f"token {token.name}", rights=Rights([token.reach]))


def who_may_approve(
    reviewers: Sequence[Reviewer], environment: str, key: str
) -> tuple[Reviewer, ...]:
    """Return the first reviewers of a key."""
    found = [item for item in reviewers if key in item.rights.keys(Scope.APPROVE, environment)]
    return tuple(found[:NAMES_MAX])
