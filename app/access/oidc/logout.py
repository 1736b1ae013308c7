"""Sign out at the provider, and end sessions when the provider sends a logout token.

OpenID Connect RP-Initiated Logout 1.0, and OpenID Connect Back-Channel Logout 1.0.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from app.access.events import Origin
from app.access.log import AccessLog
from app.access.oidc.claims import session_in
from app.access.oidc.id_tokens import SKEW_SECONDS, check_audience, check_times, subject_of
from app.access.oidc.keys import SIGNED_OUT_THERE
from app.access.oidc.provider import Provider
from app.access.oidc.signatures import TokenError, check_kind
from app.access.oidc.stored_tokens import StoredTokens, claim_use
from app.access.sessions import service as sessions
from app.database import Connection, sql
from app.errors import Unauthenticated

SIGNED_OUT = "/console/signed-out"
_EVENT = "http://schemas.openid.net/event/backchannel-logout"
# With the skew, a token is valid for at most 15 minutes. `claim_use` remembers it for longer.
_AGE_SECONDS_MAX = 600
_JTI_LENGTH_MAX = 255


@dataclass(frozen=True, kw_only=True)
class Logout:
    """Which sessions end: those of a person, of a session at the provider, or of both."""

    subject: str | None
    sid: str | None
    token_id: str


async def read_logout(provider: Provider, text: str) -> Logout:
    """Return what a logout token ends. Raises Unauthenticated and ProviderFault."""
    try:
        token = await provider.verified(text)
        check_kind(token, "logout+jwt")
        return _logout_of(provider, token.claims)
    except TokenError as error:
        raise refused_logout(str(error)) from None


def _logout_of(provider: Provider, claims: Mapping[str, Any]) -> Logout:
    check_audience(claims, provider.audience)
    check_times(claims, time.time())
    if claims["iat"] < time.time() - _AGE_SECONDS_MAX - SKEW_SECONDS:
        raise TokenError("the logout token is too old")
    _check_event(claims)
    token_id = claims.get("jti")
    if not isinstance(token_id, str) or not 0 < len(token_id) <= _JTI_LENGTH_MAX:
        raise TokenError("the logout token has no jti")
    subject = subject_of(claims) if "sub" in claims else None
    sid = session_in(claims)
    if subject is None and sid is None:
        raise TokenError("the logout token has neither sub nor sid")
    return Logout(subject=subject, sid=sid, token_id=token_id)


def logout_address(provider: Provider, public_url: str, tokens: StoredTokens) -> str | None:
    """Return the address that signs out at the provider. None if the provider has none."""
    metadata = provider.known
    if metadata is None or metadata.end_session_endpoint is None:
        return None
    query = {
        "client_id": provider.audience.client_id,
        "post_logout_redirect_uri": public_url + SIGNED_OUT,
        "state": SIGNED_OUT_THERE,
        **({"id_token_hint": tokens.hint} if tokens.hint else {}),
    }
    separator = "&" if "?" in metadata.end_session_endpoint else "?"
    return f"{metadata.end_session_endpoint}{separator}{urlencode(query)}"


async def end_sessions(
    connection: Connection, log: AccessLog, issuer: str, logout: Logout, *, origin: Origin
) -> None:
    """End the sessions of a logout. Raises Unauthenticated for one that was used before."""
    if not await claim_use(connection, "logout", logout.token_id):
        raise refused_logout("the logout token was used before")
    rows = sql.list_oidc_sessions(connection, issuer=issuer, subject=logout.subject, sid=logout.sid)
    ids = [row["session_id"] async for row in rows]
    await sessions.end_by_provider(
        connection, log, ids, detail="oidc: signed out at the provider", origin=origin
    )


def refused_logout(words: str) -> Unauthenticated:
    return Unauthenticated(
        "logout_refused", f"The logout was refused: {words}.", reason=f"oidc logout: {words}"
    )


def _check_event(claims: Mapping[str, Any]) -> None:
    """Check that this is a logout token and no ID token, which has a nonce. Raises TokenError."""
    events = claims.get("events")
    if not isinstance(events, dict) or not isinstance(events.get(_EVENT), dict):
        raise TokenError("the token is no logout token: it lacks the event")
    if "nonce" in claims:
        raise TokenError("the token is no logout token: it has a nonce")
