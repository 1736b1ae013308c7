"""The guard: no handler runs before it has been decided whether this caller may."""

from collections.abc import Sequence

from aiohttp import hdrs, web
from multidict import istr

from app.access.directory import TokenDirectory
from app.access.failures import FAILURES
from app.access.models import Caller, Scope
from app.errors import Forbidden, Malformed, Unauthenticated
from app.http.client import client_address
from app.http.keys import Handler

TOKENS: web.AppKey[TokenDirectory] = web.AppKey("tokens", TokenDirectory)
# Lower-cased once, and not for each request.
_X_API_KEY = istr("X-API-Key")
CALLER: web.RequestKey[Caller] = web.RequestKey("caller", Caller)


def guarded(handler: Handler, scopes: Sequence[Scope]) -> Handler:
    """Return the handler behind the guard: a good token, its scopes, and the path's environment."""

    async def guard(request: web.Request) -> web.StreamResponse:
        text = shown_token(request)
        try:
            caller = request.app[TOKENS].authenticate(text)
        except Unauthenticated:
            if text:
                request.app[FAILURES].count(client_address(request))
            raise
        grant = caller.token.grant
        for scope in scopes:
            if not grant.allows(scope):
                raise Forbidden("scope_missing", f"This needs a token with the scope {scope}.")
        environment = request.match_info.get("environment")
        # An unknown environment is refused like a foreign one: names are not for guessing.
        if environment is not None and not grant.covers(environment):
            raise Forbidden("environment_foreign", "The token is not for this environment.")
        request[CALLER] = caller
        return await handler(request)

    return guard


def shown_token(request: web.Request) -> str:
    """Return the token of `Authorization: Bearer` or `X-API-Key`; empty when there is none."""
    authorization = request.headers.get(hdrs.AUTHORIZATION)
    api_key = request.headers.get(_X_API_KEY)
    if authorization is not None and api_key is not None:
        raise Malformed("two_tokens", "Send Authorization or X-API-Key, not both.")
    if api_key is not None:
        return api_key
    if authorization is None:
        return ""
    scheme, _, text = authorization.partition(" ")
    return text.strip() if scheme.lower() == "bearer" else ""
