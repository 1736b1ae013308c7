"""The guard: no handler runs before it has been decided whether this caller may."""

from collections.abc import Sequence

import msgspec
from aiohttp import hdrs, web
from multidict import istr

from app.access.directory import TokenDirectory
from app.access.events import Event, Origin
from app.access.format import token_id
from app.access.log import ACCESS_LOG
from app.access.models import Caller, Scope
from app.errors import Forbidden, Malformed, Unauthenticated
from app.http.frame import route_of
from app.http.keys import REQUEST_ID, Handler

TOKENS: web.AppKey[TokenDirectory] = web.AppKey("tokens", TokenDirectory)
# Lower-cased once, and not for each request.
_X_API_KEY = istr("X-API-Key")
CALLER: web.RequestKey[Caller] = web.RequestKey("caller", Caller)


def guarded(handler: Handler, scopes: Sequence[Scope]) -> Handler:
    """Return the handler behind the guard: a good token, its scopes, and the path's environment.

    The access log tells of every refusal, the handler's own too.
    """

    async def guard(request: web.Request) -> web.StreamResponse:
        try:
            _let_in(request, scopes)
            return await handler(request)
        except Unauthenticated as error:
            note_stranger(request, error, shown_token(request))
            raise
        except Forbidden as error:
            _note_refusal(request, error)
            raise

    return guard


def _let_in(request: web.Request, scopes: Sequence[Scope]) -> None:
    """Raises Unauthenticated or Forbidden."""
    caller = request.app[TOKENS].authenticate(shown_token(request))
    request[CALLER] = caller
    grant = caller.token.grant
    for scope in scopes:
        if not grant.allows(scope):
            raise Forbidden("scope_missing", f"This needs a token with the scope {scope}.")
    environment = request.match_info.get("environment")
    # An unknown environment is refused like a foreign one: names are not for guessing.
    if environment is not None and not grant.covers(environment):
        raise Forbidden("environment_foreign", "The token is not for this environment.")


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


def origin(request: web.Request) -> Origin:
    """Return who asks, and from where, for the access log."""
    caller = request.get(CALLER)
    whose = {"actor": caller.actor, "token_id": caller.token.id} if caller is not None else {}
    return Origin(
        **whose,
        client=request.remote,
        request_id=request.get(REQUEST_ID),
        method=request.method,
        route=route_of(request),
    )


def note_stranger(request: web.Request, error: Unauthenticated, shown: str = "") -> None:
    """Have the access log tell of somebody without a good token or ticket.

    Of the token that was shown it gets the id, where that has the form of one. The environment is
    left out: it is the stranger's word, and there would be a row for each.
    """
    told = msgspec.structs.replace(origin(request), token_id=token_id(shown))
    request.app[ACCESS_LOG].note(told.was_refused(Event.LOGIN_FAIL, detail=error.reason))


def _note_refusal(request: web.Request, error: Forbidden) -> None:
    place = request.match_info
    request.app[ACCESS_LOG].note(
        origin(request).was_refused(
            Event.ACCESS_FAIL,
            environment=place.get("environment"),
            resource=place.get("key"),
            detail=error.code,
        )
    )
