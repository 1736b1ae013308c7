"""Signing out at the OpenID Connect provider, and the sign-out that the provider demands."""

from aiohttp import web

from app.access.events import AccessEvent
from app.access.guard import ACCESS_LOG, TOKENS, log_refusal, origin, refuse_credential
from app.access.models import ConsoleSession
from app.access.oidc.client import ProviderFault
from app.access.oidc.keys import OIDC
from app.console.forms import read_form
from app.errors import Malformed, NotFound, Unauthenticated, Unavailable
from app.http.keys import DATABASE

BACK_CHANNEL = "/console/oidc/back-channel-logout"
_FORM_BYTES_MAX = 64 * 1024


async def address_at_provider(request: web.Request, session: ConsoleSession | None) -> str | None:
    """Return the address that signs this person out at the provider, None without one.

    Read it before the session ends.
    """
    oidc = request.app.get(OIDC)
    if oidc is None or session is None or session.person_id is None:
        return None
    try:
        async with request.app[DATABASE].connection() as connection:
            return await oidc.logout_address(connection, session.id)
    except Unavailable:
        return None


async def post_back_channel_logout(request: web.Request) -> web.Response:
    """End the sessions that a logout token of the provider names.

    No person sends it, so it needs no session and no origin: the token is signed.
    """
    oidc = request.app.get(OIDC)
    if oidc is None:
        raise NotFound("sign_in_unknown", "This service has no OpenID Connect provider.")
    form = await read_form(request, _FORM_BYTES_MAX)
    log, origin_ = request.app[ACCESS_LOG], origin(request)
    try:
        logout = await oidc.read_logout(form.get("logout_token", ""))
        await request.app[DATABASE].transact(lambda c: oidc.end(c, log, logout, origin=origin_))
    except ProviderFault as fault:
        oidc.provider.results["logout", "provider_failed"] += 1
        log_refusal(request, AccessEvent.LOGIN_FAIL, f"oidc logout: {fault}")
        raise Unavailable("provider_failed", str(fault), retry_after_seconds=10) from None
    except Unauthenticated as error:
        oidc.provider.results["logout", "refused"] += 1
        refusal = refuse_credential(request, error, "logout token")
        # The specification asks for 400.
        raise Malformed(refusal.code, refusal.message) from None
    oidc.provider.results["logout", "ok"] += 1
    await request.app[TOKENS].refresh_if_possible()
    return web.Response(headers={"Cache-Control": "no-store"})
