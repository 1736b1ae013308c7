"""Signing in with a token or a one-time link, and signing out.

A link shows a page with one button. Chat programs, mail filters and browsers open links in advance,
and a code works only once: so only the button uses it.
"""

import shlex
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlencode

import msgspec
from aiohttp import hdrs, web

from app.access.caller import Caller
from app.access.events import AccessEvent, Decision
from app.access.format import GeneratedToken
from app.access.guard import ACCESS_LOG, TOKENS, origin, refuse_credential
from app.access.local_credentials import ADMIN_TOKEN_FILE
from app.access.models import SESSION_SCOPES, ConsoleSession, Principal, Scope
from app.access.oidc.keys import OIDC, SIGNED_OUT_THERE
from app.access.people.models import SUSPENDED, SUSPENDED_WORDS
from app.access.proxy_identity import read_identity
from app.access.sessions import codes, service
from app.access.sessions.cookie import (
    check_transport,
    delete_cookie,
    read_cookie,
    safe_next,
    set_cookie,
)
from app.access.sessions.guard import authenticate
from app.access.sessions.same_origin import SEC_FETCH_SITE
from app.console.forms import FormErrors, message_of, read_form
from app.console.pages import redirect
from app.console.provider_logout import address_at_provider
from app.console.rendering import frame, page
from app.database import Connection
from app.errors import AppError, Forbidden, Unauthenticated, Unavailable
from app.http import problems, wire
from app.http.keys import DATABASE, SETTINGS
from app.http.service_address import other_host, service_address
from app.settings import Settings, Tier

# The API's sentence names headers, which a person does not send.
_TOKEN_REFUSED = "This token is not valid: it is mistyped, expired or revoked."  # noqa: S105
_FORM_BYTES_MAX = 16 * 1024
# Not "cookies": browsers then delete those of every host of the domain.
_CLEARED = '"cache", "storage"'


async def get_sign_in(request: web.Request) -> web.Response:
    """Show the form for a token, or the button of a one-time link."""
    next_ = safe_next(request.query.get("next", ""), frame(request).root)
    code = request.query.get("code", "")
    is_suspended = False
    try:
        if not code and read_cookie(request):
            authenticate(request)
            return redirect(next_)
    except Unauthenticated as error:
        is_suspended = error.code == SUSPENDED
    if not code and (named := read_identity(request)) is not None:
        is_suspended |= request.app[TOKENS].people.is_suspended_subject(named.subject)
    if is_suspended:
        # The cookie is valid, or the proxy is trusted: this tells no stranger who is suspended.
        refusal = Forbidden(SUSPENDED, SUSPENDED_WORDS)
        return sign_in_form(request, next_=next_, error=refusal, message=refusal.message)
    if not code and request.headers.get(SEC_FETCH_SITE) == "cross-site":
        # The browser sends no SameSite=Strict cookie when a link of another site is followed. It
        # does when this page leads on.
        return page(request, "access/continue.html", next=next_)
    return sign_in_form(request, code=code, next_=next_)


async def post_sign_in(request: web.Request) -> web.Response:
    """Begin a session, and lead to the page of `next`."""
    form = await read_form(request, _FORM_BYTES_MAX)
    code, text = form.get("code", ""), form.get("token", "").strip()
    next_ = safe_next(form.get("next", ""), frame(request).root)
    try:
        check_transport(request)
        session = await _begin(request, code=code, token=text)
    except AppError as error:
        refusal = error
        if isinstance(error, Unauthenticated):
            refusal = refuse_credential(request, error, code or text)
        message = _TOKEN_REFUSED if refusal.code == "token_refused" else message_of(refusal)
        return sign_in_form(request, next_=next_, error=refusal, message=message, is_token=not code)
    response = redirect(next_)
    set_cookie(request, response, session)
    return response


async def post_sign_out(request: web.Request) -> web.Response:
    """End the session of this browser, and lead to the sign-out at the provider, if it has one."""
    session, is_ended, address = session_of(request), True, None
    log, origin_ = request.app[ACCESS_LOG], origin(request)
    if session is not None:
        address = await address_at_provider(request, session)
        try:
            await request.app[DATABASE].transact(
                lambda c: service.end_own(c, log, session.id, origin=origin_)
            )
        except Unavailable:
            # The browser must forget the cookie in any case.
            is_ended = False
        await request.app[TOKENS].refresh_if_possible()
    return signed_out(request, is_ended=is_ended, address=address)


async def get_signed_out(request: web.Request) -> web.Response:
    """Say that the session has ended."""
    sessions = wire.whole_number(request.query, "sessions")
    others = wire.whole_number(request.query, "others")
    is_ended_there = request.query.get("state") == SIGNED_OUT_THERE
    is_ended = "open" not in request.query
    return page(
        request,
        "access/signed_out.html",
        is_ended=is_ended,
        is_ended_there=is_ended_there,
        sessions=sessions,
        others=others,
    )


def signed_out(
    request: web.Request,
    *,
    is_ended: bool = True,
    sessions: int | None = None,
    others: int = 0,
    address: str | None = None,
) -> web.Response:
    """Return the answer that removes the session from the browser.

    `address` signs out at the provider, which leads to the page afterwards. `sessions` is the
    number of sessions that ended in all browsers, `others` the number of those under other names,
    which the caller may see and which stay.
    """
    open_ = None if is_ended else ""
    signed_out_page = frame(request).url_of(
        "signed-out", open=open_, sessions=sessions, others=others or None
    )
    if address is None:
        response = redirect(signed_out_page)
    else:
        # Not a redirect: the policy forbids that a form leads to another origin.
        response = page(
            request, "access/sign_out_there.html", address=address, here=signed_out_page
        )
    delete_cookie(request, response)
    response.headers["Clear-Site-Data"] = _CLEARED
    return response


async def _begin(request: web.Request, *, code: str, token: str) -> str:
    """Begin the session of a code or a token, and return the text of its cookie.

    The text is always new, so that a cookie that another person has set before is useless.
    """
    directory, replaces = request.app[TOKENS], replaced_session(request)
    if code:
        # Before a connection is acquired.
        codes.check(directory.key, code)
    holder = None if code else directory.authenticate(token)

    async def work(connection: Connection) -> str:
        if holder is None:
            principal = await codes.use(connection, directory.key, code)
        else:
            principal = _principal(request, holder)
        return (await begin_session(request, connection, principal, replaces=replaces)).text

    text = await request.app[DATABASE].transact(work)
    await directory.refresh_if_possible()
    return text


async def begin_session(
    request: web.Request, connection: Connection, principal: Principal, *, replaces: str | None
) -> GeneratedToken:
    """Store a new session of this browser, which ends the session `replaces`."""
    return await service.begin(
        *(connection, request.app[ACCESS_LOG], request.app[TOKENS].key, principal),
        origin=origin(request),
        user_agent=request.headers.get(hdrs.USER_AGENT, ""),
        replaces=replaces,
    )


def replaced_session(request: web.Request) -> str | None:
    """Return the ID of the session that a sign-in of this browser ends."""
    session = session_of(request)
    return None if session is None else session.id


def _principal(request: web.Request, holder: Caller) -> Principal:
    if not holder.rights.has(Scope.READ):
        own = msgspec.structs.replace(origin(request), actor=holder.actor, token_id=holder.token_id)
        code, refused = "scope_missing", Decision.REFUSED
        access = own.did(AccessEvent.LOGIN_FAIL, decision=refused, detail=code)
        request.app[ACCESS_LOG].enqueue(access)
        raise Forbidden(code, "The console needs a token with the scope read.")
    # A token has one grant.
    (held,) = holder.rights.grants
    grant = replace(held, scopes=held.scopes & SESSION_SCOPES)
    return Principal(actor=holder.actor, name=holder.name, grant=grant, token_id=holder.token_id)


def session_of(request: web.Request) -> ConsoleSession | None:
    """Return the session of this browser, for a page that needs none.

    It may have expired, or belong to a suspended person.
    """
    try:
        return request.app[TOKENS].find_session(read_cookie(request))
    except Unauthenticated:
        return None


def sign_in_form(
    request: web.Request,
    *,
    next_: str,
    code: str = "",
    error: AppError | None = None,
    message: str = "",
    is_token: bool = False,
    is_led: bool = False,
) -> web.Response:
    """Show the ways to sign in, with the reason of a refusal. `is_token`: the token was refused.

    `is_led`: a page of another site began this sign-in.
    """
    settings = request.app[SETTINGS]
    return page(
        request,
        "access/sign_in.html",
        status=problems.STATUS[type(error)] if error is not None else 200,
        headers=problems.headers_of(error) if error is not None else None,
        errors=FormErrors(message),
        is_token=is_token,
        code=code,
        next=next_,
        token_file=_token_file(settings) if settings.tier is Tier.LOCAL else "",
        provider=_provider(request, next_),
        proxied=read_identity(request),
        elsewhere=_elsewhere(request, next_),
        is_led=is_led,
    )


def _elsewhere(request: web.Request, next_: str) -> Mapping[str, str] | None:
    """Return the sign-in page at PUBLIC_URL, None if the browser is at its host already.

    The cookies of one host are not sent to the other one. So a sign-in there leaves this page as it
    is, and a sign-in here does not count for the links that the service gives out.
    """
    host, base = other_host(request), service_address(request)
    if host is None:
        return None
    address = f"{base}/console/sign-in?{urlencode({'next': next_})}"
    return {"host": host, "base": base, "address": address}


def _provider(request: web.Request, next_: str) -> Mapping[str, str] | None:
    """Return the link to the OpenID Connect provider, None without one."""
    oidc = request.app.get(OIDC)
    if oidc is None:
        return None
    # At the address to which the provider leads back: the cookie of the attempt belongs to it.
    start = f"{oidc.public_url}/console/sign-in/oidc"
    return {
        "host": oidc.provider.host,
        "address": f"{start}?{urlencode({'next': next_})}",
        "failure": oidc.provider.failure or "",
    }


def _token_file(settings: Settings) -> str:
    """Return the file of the admin token for a shell in the folder of the service."""
    file, folder = settings.data_dir / ADMIN_TOKEN_FILE, Path.cwd()
    return shlex.quote(str(file.relative_to(folder) if file.is_relative_to(folder) else file))
