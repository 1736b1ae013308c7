"""The guard: it checks token, scopes and environment before each handler runs."""

from collections.abc import Sequence
from hashlib import sha256

import msgspec
from aiohttp import hdrs, web
from multidict import istr

from app import log as logs
from app.access.caller import Caller
from app.access.credentials import Credentials
from app.access.events import AccessEvent, Decision, Origin
from app.access.format import token_id
from app.access.log import AccessLog
from app.access.models import Scope
from app.access.permissions import Keys, Rights
from app.access.rate_limit import RATE_LIMIT
from app.access.refusals import all_keys_needed, environment_foreign, key_foreign, scope_missing
from app.errors import AppError, Forbidden, LimitExceeded, Malformed, Unauthenticated
from app.http.client_address import client_address
from app.http.encoded import EncodedResponse
from app.http.fast_path import HotAnswer
from app.http.frame import route_of
from app.http.keys import REQUEST_ID, Handler

ACCESS_LOG: web.AppKey[AccessLog] = web.AppKey("access_log", AccessLog)
TOKENS: web.AppKey[Credentials] = web.AppKey("tokens", Credentials)
# An istr, so that the name is lower-cased once and not for each request.
_X_API_KEY = istr("X-API-Key")
CALLER: web.RequestKey[Caller] = web.RequestKey("caller", Caller)


def guarded(handler: Handler, scopes: Sequence[Scope], *, by_key: bool = False) -> Handler:
    """Return the handler with a check of the token and of its rights, as `permit` makes it.

    Every refusal goes to the access log, also those of the handler.
    """

    async def guard(request: web.Request) -> web.StreamResponse:
        try:
            _authorize(request, scopes, by_key=by_key)
            return await handler(request)
        except (Unauthenticated, Forbidden) as error:
            raise _refused(request, error) from None

    return guard


def hot_guarded(answer: HotAnswer, scopes: Sequence[Scope], *, by_key: bool = False) -> HotAnswer:
    """Return the hot answer with the same checks."""

    def guard(request: web.Request, body: bytes) -> EncodedResponse | None:
        try:
            _authorize(request, scopes, by_key=by_key)
            return answer(request, body)
        except (Unauthenticated, Forbidden) as error:
            # For the log. Nothing else logs in the context of a connection.
            logs.REQUEST_ID.set(request[REQUEST_ID])
            raise _refused(request, error) from None

    return guard


def _refused(request: web.Request, error: Unauthenticated | Forbidden) -> AppError:
    """Count and log a refusal. Return the error for the client."""
    if isinstance(error, Unauthenticated):
        return refuse_credential(request, error, presented_token(request))
    log_refusal(request, AccessEvent.ACCESS_FAIL, error.code)
    return error


def _authorize(request: web.Request, scopes: Sequence[Scope], *, by_key: bool) -> None:
    """Set the caller. Raises Unauthenticated or Forbidden."""
    caller = request.app[TOKENS].authenticate(presented_token(request))
    permit(request, caller, scopes, by_key=by_key)


def permit(
    request: web.Request, caller: Caller, scopes: Sequence[Scope], *, by_key: bool = False
) -> None:
    """Set the caller, and check its rights. Raises Forbidden.

    Each scope must hold in the environment of the path: with `by_key` for the key of the path, or
    for any key if it has none; otherwise for all keys. In a path without an environment, the scope
    must hold in any environment. The handler then filters by environments and keys.

    A stream calls it again while it is open.
    """
    request[CALLER] = caller
    path, rights = request.match_info, caller.rights
    environment = path.get("environment")
    if rights.has_all_keys(scopes, environment):
        return
    for scope in scopes:
        if not rights.has(scope):
            raise scope_missing(scope)
    for scope in scopes:
        if environment is not None:
            _check(rights, scope, environment, path.get("key"), by_key=by_key)
        elif not by_key and not rights.has_all_keys([scope], None):
            raise all_keys_needed(scope)


def require(request: web.Request, scope: Scope) -> None:
    """Check a further scope in the environment of the path, and for its key if there is one.

    Raises Forbidden. Without a key, the handler filters.
    """
    path, rights = request.match_info, request[CALLER].rights
    if not rights.has(scope):
        raise scope_missing(scope)
    _check(rights, scope, path["environment"], path.get("key"), by_key=True)


def _check(
    rights: Rights, scope: Scope, environment: str, key: str | None, *, by_key: bool
) -> None:
    keys = rights.keys(scope, environment)
    if keys.is_all:
        return
    # An unknown environment gets the same refusal, so that no caller can guess names.
    if not keys:
        raise environment_foreign()
    if not by_key:
        raise all_keys_needed(scope)
    # Whether the key exists makes no difference, for the same reason.
    if key is not None and key not in keys:
        raise key_foreign(scope, key, keys)


def readable_keys(request: web.Request, environment: str | None = None) -> Keys:
    """Return the keys that the caller may read, by default in the environment of the path."""
    name = environment or request.match_info["environment"]
    return request[CALLER].rights.keys(Scope.READ, name)


def presented_token(request: web.Request) -> str:
    """Return the token in `Authorization: Bearer` or `X-API-Key`, or an empty string."""
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


def log_refusal(request: web.Request, event: AccessEvent, detail: str) -> None:
    """Add a refused request to the next batch of the access log."""
    path = request.match_info
    environment = path.get("environment")
    access_log, alike = request.app[ACCESS_LOG], _alike(request, event, detail, environment)
    if access_log.enqueue_again(alike):
        return
    access = origin(request).did(
        event,
        decision=Decision.REFUSED,
        environment=environment,
        resource=path.get("key") or path.get("id"),
        detail=detail,
    )
    access_log.enqueue(access, alike)


def _alike(
    request: web.Request, event: AccessEvent, detail: str, environment: str | None
) -> tuple[object, ...]:
    """Return all that the group of a refusal depends on; see `RefusalBatch`."""
    caller = request.get(CALLER)
    return (
        *(event, detail, environment, caller and caller.actor),
        *(client_address(request), request.method, route_of(request)),
    )


def rights_digest(request: web.Request) -> bytes:
    """Return a digest of what the caller may do now."""
    grants = [
        [sorted(grant.scopes), sorted(grant.environments), sorted(grant.prefixes)]
        for grant in request[CALLER].rights.grants
    ]
    return sha256(msgspec.json.encode(sorted(grants))).digest()


def origin(request: web.Request) -> Origin:
    caller = request.get(CALLER)
    identity = {"actor": caller.actor, "token_id": caller.token_id} if caller is not None else {}
    return Origin(
        **identity,
        client=client_address(request),
        request_id=request.get(REQUEST_ID),
        method=request.method,
        route=route_of(request),
    )


def refuse_credential(request: web.Request, error: Unauthenticated, presented: str) -> AppError:
    """Count and log a refused token or ticket. Return the error, or LimitExceeded after too many.

    The access log gets the ID of a well-formed token. It does not get the environment: a stranger
    chooses it freely, and each one would add a row.
    """
    refusal: AppError = error
    event = AccessEvent.LOGIN_FAIL
    try:
        if presented:
            request.app[RATE_LIMIT].count(client_address(request))
    except LimitExceeded as limited:
        # Its traceback refers to this frame: break the cycle.
        refusal, event = limited.with_traceback(None), AccessEvent.RATE_LIMITED
    access_log, alike = request.app[ACCESS_LOG], _alike(request, event, error.reason, None)
    if not access_log.enqueue_again(alike):
        caller = msgspec.structs.replace(origin(request), token_id=token_id(presented))
        access = caller.did(event, decision=Decision.REFUSED, detail=error.reason)
        access_log.enqueue(access, alike)
    return refusal
