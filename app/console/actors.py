"""The people and programs that made a change, as pages show them."""

from dataclasses import dataclass, field

from aiohttp import web

from app.access.actors import plain_name
from app.access.guard import TOKENS

_PAGES = {"token": "tokens", "person": "people"}
# The IDs of the actors of a page by their names.
_Ids = dict[str, set[str]]
_IDS: web.RequestKey[_Ids] = web.RequestKey("ids_of_actors", dict)


@dataclass(frozen=True, kw_only=True)
class NamedActor:
    """An actor with its name."""

    id: str
    name: str
    _ids: _Ids = field(repr=False)

    @property
    def is_shared(self) -> bool:
        """Whether another actor of the page has the same name."""
        return len(self._ids[self.name]) > 1

    @property
    def page(self) -> tuple[str, str] | None:
        """The path of the page of a token or a person, for administrators."""
        kind, _, id_ = self.id.partition(":")
        return (_PAGES[kind], id_) if kind in _PAGES else None


def actor_of(request: web.Request, actor: str, name: str) -> NamedActor:
    """Return an actor for the macro `who`."""
    ids = request.setdefault(_IDS, {})
    ids.setdefault(name, set()).add(actor)
    return NamedActor(id=actor, name=name, _ids=ids)


def current_name(request: web.Request, actor: str) -> str:
    """Return a name from memory, where a page cannot read the database.

    A token that is over is named by its ID, and so is a person who has signed out.
    """
    directory = request.app[TOKENS]
    holder = directory.usable.get(actor.removeprefix("token:")) or directory.sessions.of(actor)
    return plain_name(actor) if holder is None else holder.name
