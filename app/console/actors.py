"""The people and programs that made a change, as pages show them."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from aiohttp import web

from app.access.actors import plain_name
from app.access.guard import TOKENS
from app.access.models import Token

_PAGES = {"token": "tokens", "person": "people"}


@dataclass(frozen=True, kw_only=True)
class NamedActor:
    """An actor with its name. `is_shared` says that another one has the same name."""

    id: str
    name: str
    is_shared: bool

    @property
    def page(self) -> tuple[str, str] | None:
        """The path of the page of a token or a person, for administrators."""
        kind, _, id_ = self.id.partition(":")
        return (_PAGES[kind], id_) if kind in _PAGES else None


class SharedNames:
    """The usable tokens by their names. The index is made again after a token has changed."""

    def __init__(self) -> None:
        self._tokens: Mapping[str, Token] = {}
        self._actors: dict[str, set[str]] = {}

    def has_other(self, tokens: Mapping[str, Token], actor: str, name: str) -> bool:
        """Return whether another actor than this one has the name now."""
        if tokens is not self._tokens:
            self._actors = _by_name(tokens)
            self._tokens = tokens
        return bool(self._actors.get(name, set()) - {actor})


SHARED_NAMES: web.AppKey[SharedNames] = web.AppKey("shared_names", SharedNames)


def actor_of(request: web.Request, actor: str, name: str) -> NamedActor:
    """Return an actor for the macro `who`. It may be called in a thread."""
    is_shared = request.app[SHARED_NAMES].has_other(request.app[TOKENS].usable, actor, name)
    return NamedActor(id=actor, name=name, is_shared=is_shared)


def current_name(request: web.Request, actor: str) -> str:
    """Return a name from memory, where a page cannot read the database.

    A token that is over is named by its ID.
    """
    token = request.app[TOKENS].usable.get(actor.removeprefix("token:"))
    return plain_name(actor) if token is None else token.name


def _by_name(tokens: Mapping[str, Token]) -> dict[str, set[str]]:
    actors = defaultdict(set)
    for token in tokens.values():
        actors[token.name].add(f"token:{token.id}")
    return actors
