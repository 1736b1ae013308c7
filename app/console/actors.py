"""The names of the people and programs that made a change, as pages show them."""

from aiohttp import web

from app.access.guard import TOKENS


def actor_name(request: web.Request, actor: str) -> str:
    """Return the name of `token:ID`, `operator:NAME` or `system:PART`.

    A token that is no longer valid is named by its ID.
    """
    kind, _, name = actor.partition(":")
    if kind == "token":
        token = request.app[TOKENS].usable.get(name)
        return token.name if token is not None else f"token {name}"
    return "Flagstone" if kind == "system" else name
