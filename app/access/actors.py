"""The names of actors: the tokens, people and operators that act, and the service itself.

An actor is stored by its ID, which never changes. Its name is read when it is shown. Rows of tokens
are never deleted, so a name stays after a token was revoked or has expired.
"""

from collections import Counter
from collections.abc import Iterable

from app.database import Connection, sql

_TOKEN = "token:"  # noqa: S105 - a prefix


async def actor_names(connection: Connection, actors: Iterable[str | None]) -> dict[str, str]:
    """Return the name of each actor, by one statement if any is a token."""
    wanted = {actor for actor in actors if actor is not None}
    tokens = [actor.removeprefix(_TOKEN) for actor in wanted if actor.startswith(_TOKEN)]
    names = {actor: plain_name(actor) for actor in wanted}
    if tokens:
        async for row in sql.list_actor_names(connection, tokens=sorted(tokens)):
            names[row["actor"]] = row["name"]
    return names


def distinct_names(actors: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return the name of each actor, with its ID after a name that several of them share.

    An answer of an earlier release has no names: the ID stands for the name.
    """
    names = dict(actors)
    counts = Counter(names.values())
    return {
        actor: f"{name} ({actor})" if name and counts[name] > 1 else name or actor
        for actor, name in names.items()
    }


def plain_name(actor: str) -> str:
    """Return the name that an actor has without the database: that of a token is its ID."""
    kind, _, name = actor.partition(":")
    if kind == "system":
        return "Flagstone"
    return f"{kind} {name}" if kind == "token" else name or actor
