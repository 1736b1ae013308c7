"""Signing in with the OpenID Connect provider.

The start is a link and no form: the policy of the pages forbids a form to lead to another origin.
The browser sends the session's cookie to no page that another site leads to. So the callback
answers with a page that leads on.
"""

from typing import TYPE_CHECKING

from aiohttp import web

from app.access.events import AccessEvent
from app.access.guard import ACCESS_LOG, TOKENS, log_refusal, origin, refuse_credential
from app.access.oidc.attempts import LIFETIME_SECONDS, Attempt
from app.access.oidc.client import ProviderFault
from app.access.oidc.keys import OIDC
from app.access.people.sign_in import sign_in
from app.access.sessions.cookie import (
    check_transport,
    is_secure,
    read_single,
    safe_next,
    set_cookie,
)
from app.access.sessions.same_origin import SEC_FETCH_SITE
from app.console.forms import message_of
from app.console.pages import redirect
from app.console.rendering import frame, page
from app.console.sign_in import begin_session, replaced_session, sign_in_form
from app.database import Connection
from app.errors import AppError, Malformed, NotFound, Unauthenticated, Unavailable
from app.http.keys import DATABASE

if TYPE_CHECKING:
    from app.access.oidc.flow import OidcSignIn
    from app.access.oidc.stored_tokens import SignedIn

_SECURE_NAME, _PLAIN_NAME = "__Host-flagstone-oidc", "flagstone-oidc"


async def get_provider_start(request: web.Request) -> web.Response:
    """Lead to the provider. A link of another site leads to the button first."""
    oidc = _sign_in_of(request)
    next_ = safe_next(request.query.get("next", ""), frame(request).root)
    if request.headers.get(SEC_FETCH_SITE) == "cross-site":
        # No other site may begin a session without a person who wants it.
        return sign_in_form(request, next_=next_, is_led=True)
    replaces = replaced_session(request)
    try:
        check_transport(request)
        address, cookie = await oidc.begin(next_, replaces)
    except (AppError, ProviderFault) as error:
        return _refused(request, oidc, error, next_)
    response = redirect(address)
    response.set_cookie(
        _cookie_name(request),
        cookie,
        max_age=LIFETIME_SECONDS,
        path="/",
        secure=is_secure(request),
        httponly=True,
        # The provider leads back from another site.
        samesite="Lax",
    )
    return response


async def get_provider_callback(request: web.Request) -> web.Response:
    """Begin the session of a person whom the provider has signed in."""
    oidc, next_ = _sign_in_of(request), frame(request).url_of()
    try:
        check_transport(request)
        cookie = read_single(request, _cookie_name(request))
        attempt, code = await oidc.check(request.query, cookie)
        next_ = attempt.next
        await request.app[DATABASE].transact(lambda c: oidc.claim(c, attempt))
        text = await _begin(request, oidc, attempt, await oidc.finish(attempt, code))
    except (AppError, ProviderFault) as error:
        return _refused(request, oidc, error, next_)
    oidc.provider.results["sign_in", "ok"] += 1
    response = page(request, "access/continue.html", next=next_)
    set_cookie(request, response, text)
    response.del_cookie(
        _cookie_name(request),
        path="/",
        secure=is_secure(request),
        httponly=True,
        samesite="Lax",
    )
    return response


async def _begin(
    request: web.Request, oidc: "OidcSignIn", attempt: Attempt, signed_in: "SignedIn"
) -> str:
    """Store the person and a new session, and return the text of its cookie."""
    directory, log, origin_ = request.app[TOKENS], request.app[ACCESS_LOG], origin(request)

    async def work(connection: Connection) -> str:
        person = await sign_in(connection, log, directory.key, signed_in.identity, origin=origin_)
        new = await begin_session(request, connection, person.principal, replaces=attempt.replaces)
        await oidc.store.insert(connection, new.id, signed_in)
        return new.text

    text = await request.app[DATABASE].transact(work)
    await directory.refresh_if_possible()
    return text


def _refused(
    request: web.Request, oidc: "OidcSignIn", error: AppError | ProviderFault, next_: str
) -> web.Response:
    """Return the sign-in with the reason. Count it and log it."""
    if isinstance(error, ProviderFault):
        oidc.provider.results["sign_in", "provider_failed"] += 1
        oidc.provider.note_failure(str(error))
        log_refusal(request, AccessEvent.LOGIN_FAIL, f"oidc: {error}")
        refusal: AppError = Unavailable(
            "provider_failed",
            f"{error} Signing in with a token or a one-time link works as before.",
            retry_after_seconds=10,
        )
    else:
        oidc.provider.results["sign_in", "refused"] += 1
        refusal = error
        if isinstance(error, Unauthenticated):
            refusal = refuse_credential(request, error, "callback")
        elif isinstance(error, Malformed):
            log_refusal(request, AccessEvent.LOGIN_FAIL, f"oidc: {error}")
    return sign_in_form(request, next_=next_, error=refusal, message=message_of(refusal))


def _sign_in_of(request: web.Request) -> "OidcSignIn":
    oidc = request.app.get(OIDC)
    if oidc is None:
        raise NotFound(
            "sign_in_unknown", "This service has no OpenID Connect provider: set OIDC_ISSUER."
        )
    return oidc


def _cookie_name(request: web.Request) -> str:
    return _SECURE_NAME if is_secure(request) else _PLAIN_NAME
