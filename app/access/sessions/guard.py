"""The guard of pages: it checks the origin, the session, scopes and environment before each page.

The API never accepts the cookie. So no other site can make a browser write to the API. Pages accept
a token too, for tools.
"""

from collections.abc import Sequence

from aiohttp import web
from multidict import istr

from app.access import proxy_identity
from app.access.caller import Caller
from app.access.events import AccessEvent
from app.access.guard import (
    TOKENS,
    log_refusal,
    permit,
    presented_token,
    refuse_credential,
)
from app.access.models import Scope
from app.access.sessions.cookie import read_cookie
from app.access.sessions.directory import EXPIRED, IDLE_TOO_LONG
from app.access.sessions.same_origin import CROSS_SITE, check_same_origin
from app.errors import AppError, Forbidden, Malformed, Unauthenticated
from app.http.keys import Handler

# The header of the requests of a page that refreshes itself.
_X_BACKGROUND = istr("X-Background")
# A refusal that a page shows instead of raising it.
SHOWN_REFUSAL: web.RequestKey[AppError] = web.RequestKey("shown_refusal", AppError)
_SAFE_METHODS = frozenset({"GET", "HEAD"})


def guarded_page(
    handler: Handler, scopes: Sequence[Scope] | None, *, by_key: bool = False
) -> Handler:
    """Return the handler of a page behind its checks. None needs no session.

    Every refusal goes to the access log, also those that the handler raises, and those that its
    page shows beside a form. A request without a cookie is a person who is not signed in yet, and
    is not logged.
    """

    async def guard(request: web.Request) -> web.StreamResponse:
        try:
            if request.method not in _SAFE_METHODS:
                check_same_origin(request)
            # Refuse the headers of a stranger or of a faulty proxy on each page.
            proxy_identity.read_identity(request)
            if scopes is not None:
                is_visit = _X_BACKGROUND not in request.headers
                caller = authenticate(request, is_visit=is_visit)
                if await proxy_identity.follow_groups(request, caller):
                    caller = authenticate(request, is_visit=False)
                permit(request, caller, scopes, by_key=by_key)
            return await handler(request)
        except (Unauthenticated, Forbidden) as error:
            # The page that should show the first refusal was refused itself.
            request.pop(SHOWN_REFUSAL, None)
            raise await _refused(request, error) from None
        finally:
            if (shown := request.get(SHOWN_REFUSAL)) is not None:
                log_refusal(request, AccessEvent.ACCESS_FAIL, shown.code)

    return guard


async def _refused(request: web.Request, error: Unauthenticated | Forbidden) -> AppError:
    """Count and log a refusal. Return the error for the page."""
    if isinstance(error, Forbidden):
        is_foreign = error.code == CROSS_SITE
        event = AccessEvent.CROSS_SITE if is_foreign else AccessEvent.ACCESS_FAIL
        log_refusal(request, event, error.code)
    elif token := presented_token(request):
        return refuse_credential(request, error, token)
    elif read_cookie(request):
        is_late = error.reason in {EXPIRED, IDLE_TOO_LONG}
        event = AccessEvent.SESSION_USED_LATE if is_late else AccessEvent.LOGIN_FAIL
        log_refusal(request, event, error.reason)
        await proxy_identity.end_session(request, error.reason)
    return error


def authenticate(request: web.Request, *, is_visit: bool = True) -> Caller:
    """Return the caller of the session's cookie, or of a token.

    `is_visit` is false for an open stream and for a page that refreshes itself: a page that is open
    but not used must not extend its session. Raises Unauthenticated, Malformed for both, and
    Unavailable during the start. With TRUSTED_USER_HEADER, Forbidden too.
    """
    text, token = read_cookie(request), presented_token(request)
    if text and token:
        raise Malformed("two_credentials", "Send the cookie of a session or a token, not both.")
    directory = request.app[TOKENS]
    if token:
        return directory.authenticate(token)
    session = directory.find_session(text)
    # First: the notice of a suspension is not for another person, whom the proxy names now.
    proxy_identity.check_session(request, session)
    return directory.caller_of_session(session, is_visit=is_visit)
