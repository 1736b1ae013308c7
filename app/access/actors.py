"""The names of actors: the tokens, people and operators that act, and the service itself.

An actor is stored by its ID, which never changes. Its name is read when it is shown. Rows of tokens
and people are never deleted, so a name stays after a token was revoked or a person suspended.
"""

from collections import Counter
from collections.abc import Iterable

from app.database import Connection, sql

_STORED = ("token", "person")
# Names of tokens that were read. They never change, in contrast to those of people. A statement for
# each page of the history would take a fifth of its time.
_token_names: dict[str, str] = {}
_TOKEN_NAMES_MAX = 10_000


async def actor_names(connection: Connection, actors: Iterable[str | None]) -> dict[str, str]:
    """Return the name of each actor, by at most one statement."""
    names = {actor: plain_name(actor) for actor in actors if actor is not None}
    unread: dict[str, list[str]] = {kind: [] for kind in _STORED}
    for actor in names:
        kind, _, id_ = actor.partition(":")
        if actor in _token_names:
            names[actor] = _token_names[actor]
        elif kind in _STORED:
            unread[kind].append(id_)
    if any(unread.values()):
        rows = sql.list_actor_names(connection, tokens=unread["token"], people=unread["person"])
        read = {row["actor"]: row["name"] async for row in rows}
        names |= read
        _remember(read)
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
    """Return the name that an actor has without the database, such as "token ID"."""
    kind, _, name = actor.partition(":")
    if kind == "system":
        return "Flagstone"
    return f"{kind} {name}" if kind in _STORED else name or actor


def _remember(names: dict[str, str]) -> None:
    tokens = {actor: name for actor, name in names.items() if actor.startswith("token:")}
    if len(_token_names) + len(tokens) > _TOKEN_NAMES_MAX:
        _token_names.clear()
    _token_names.update(tokens)
