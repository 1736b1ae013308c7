"""The guard: no handler runs before it has been decided whether this caller may."""

from collections.abc import Sequence

import msgspec
from aiohttp import hdrs, web
from multidict import istr

from app.access.directory import TokenDirectory
from app.access.events import AccessEvent, Origin
from app.access.format import token_id
from app.access.log import AccessLog
from app.access.models import Caller, Scope
from app.access.rate_limit import RATE_LIMIT
from app.errors import AppError, Forbidden, LimitExceeded, Malformed, Unauthenticated
from app.http.client_address import client_address
from app.http.frame import route_of
from app.http.keys import REQUEST_ID, Handler

ACCESS_LOG: web.AppKey[AccessLog] = web.AppKey("access_log", AccessLog)
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
            raise refuse_credential(request, error, presented_token(request)) from None
        except Forbidden as error:
            _note_refusal(request, error)
            raise

    return guard


def _let_in(request: web.Request, scopes: Sequence[Scope]) -> None:
    """Raises Unauthenticated or Forbidden."""
    caller = request.app[TOKENS].authenticate(presented_token(request))
    request[CALLER] = caller
    grant = caller.grant
    for scope in scopes:
        if not grant.allows(scope):
            raise Forbidden("scope_missing", f"This needs a token with the scope {scope}.")
    environment = request.match_info.get("environment")
    # An unknown environment is refused like a foreign one: names are not for guessing.
    if environment is not None and not grant.covers(environment):
        raise Forbidden("environment_foreign", "The token is not for this environment.")


def presented_token(request: web.Request) -> str:
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
        client=client_address(request),
        request_id=request.get(REQUEST_ID),
        method=request.method,
        route=route_of(request),
    )


def refuse_credential(request: web.Request, error: Unauthenticated, shown: str) -> AppError:
    """Return what somebody is answered who has shown no good token or ticket: the same for every
    reason, until there were too many. The access log tells of it.

    Of the token that was shown it gets the id, where that has the form of one. The environment is
    left out: it is the stranger's word, and there would be a row for each.
    """
    answer: AppError = error
    event = AccessEvent.LOGIN_FAIL
    try:
        if shown:
            request.app[RATE_LIMIT].count(client_address(request))
    except LimitExceeded as limited:
        answer, event = limited, AccessEvent.RATE_LIMITED
    told = msgspec.structs.replace(origin(request), token_id=token_id(shown))
    request.app[ACCESS_LOG].enqueue(told.was_refused(event, detail=error.reason))
    return answer


def _note_refusal(request: web.Request, error: Forbidden) -> None:
    place = request.match_info
    request.app[ACCESS_LOG].enqueue(
        origin(request).was_refused(
            AccessEvent.ACCESS_FAIL,
            environment=place.get("environment"),
            resource=place.get("key") or place.get("id"),
            detail=error.code,
        )
    )
