"""Begin and finish a sign-in: the authorization code flow with PKCE.

OpenID Connect Core 1.0 section 3.1, RFC 7636 (PKCE), RFC 9207 (the issuer in the callback).
"""

import hmac
import re
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from multidict import MultiMapping

from app.access.events import Origin
from app.access.log import AccessLog
from app.access.oidc.attempts import Attempt, AttemptBox
from app.access.oidc.claims import has_groups, identity_of, session_in
from app.access.oidc.client import ProviderFault
from app.access.oidc.id_tokens import check_access_token, check_id_token, subject_of
from app.access.oidc.logout import Logout, end_sessions, logout_address, read_logout
from app.access.oidc.provider import FRESH_SECONDS, Provider
from app.access.oidc.signatures import TokenError, check_kind
from app.access.oidc.stored_tokens import SignedIn, TokenStore, claim_use
from app.access.people.sign_in import PersonIdentity
from app.database import Connection
from app.errors import Unauthenticated
from app.settings import Secret

CALLBACK = "/console/sign-in/oidc/callback"
_PARAMETER_LENGTH_MAX = 4_096
_ERROR_CODE = re.compile(r"[a-z_]{1,40}")
# RFC 6749 section 4.1.2.1, OpenID Connect Core section 3.1.2.6. `error_description` is not shown: a
# stranger can write any text into it.
_ERRORS = {
    "access_denied": "you or the provider did not allow it",
    "login_required": "you are not signed in at the provider",
    "interaction_required": "the provider needs to ask you something, and could not",
    "consent_required": "the provider needs your consent",
    "invalid_scope": "the provider does not know a scope of OIDC_SCOPES",
    "unauthorized_client": "the provider does not allow this for OIDC_CLIENT_ID",
    "server_error": "the provider had an internal error",
    "temporarily_unavailable": "the provider is not available for the moment",
}


class OidcSignIn:
    """Signs people in with the provider. `public_url` is where it sends them back."""

    def __init__(self, provider: Provider, public_url: str, key: Secret) -> None:
        self.provider = provider
        self.key = key
        self.public_url = public_url
        self.attempts = AttemptBox(key)
        self.store = TokenStore(key)
        self._redirect_uri = public_url + CALLBACK

    async def begin(self, next_: str, replaces: str | None) -> tuple[str, str]:
        """Return the address at the provider, and the text of the cookie.

        Raises ProviderFault if the provider does not answer now.
        """
        metadata = await self.provider.metadata(age_max=FRESH_SECONDS)
        attempt = Attempt.begun(next_, replaces)
        query = {
            "response_type": "code",
            "client_id": self.provider.audience.client_id,
            "redirect_uri": self._redirect_uri,
            "scope": " ".join(self.provider.settings.scopes),
            "state": attempt.state,
            "nonce": attempt.nonce,
            "code_challenge": attempt.challenge,
            "code_challenge_method": "S256",
        }
        endpoint = metadata.authorization_endpoint
        separator = "&" if "?" in endpoint else "?"
        return f"{endpoint}{separator}{urlencode(query)}", self.attempts.close(attempt)

    async def check(self, query: MultiMapping[str], cookie: str) -> tuple[Attempt, str]:
        """Check the callback, and return its attempt and its code.

        Raises Unauthenticated, and ProviderFault if the discovery document was never read.
        """
        if not cookie:
            raise refused("this browser did not begin it, or began it more than 10 minutes ago")
        attempt = self.attempts.open(cookie)
        if attempt is None:
            raise refused("it took more than 10 minutes, or its cookie was changed")
        state = _parameter(query, "state")
        if not hmac.compare_digest(state.encode(), attempt.state.encode()):
            raise refused("this browser has begun another one since: its state is wrong")
        await self._check_issuer(query)
        if "error" in query:
            code = _parameter(query, "error")
            log_code = code if _ERROR_CODE.fullmatch(code) else "unknown"
            words = _ERRORS.get(code, "the provider refused it")
            raise refused(words, reason=f"provider error {log_code}")
        code = _parameter(query, "code")
        if not code:
            raise refused("the provider sent no code")
        return attempt, code

    async def finish(self, attempt: Attempt, code: str) -> SignedIn:
        """Exchange the code, and verify the answer. Raises Unauthenticated and ProviderFault."""
        status, answer = await self.provider.exchange(
            {
                "grant_type": "authorization_code",
                "code": code,
                "redirect_uri": self._redirect_uri,
                "code_verifier": attempt.verifier,
            }
        )
        if status != 200:
            raise _exchange_error(answer)
        try:
            return await self._verified(answer, attempt.nonce)
        except TokenError as error:
            raise refused(str(error)) from None

    async def _verified(self, answer: Mapping[str, Any], nonce: str) -> SignedIn:
        text = answer.get("id_token")
        if not isinstance(text, str):
            raise TokenError("the provider sent no ID token")
        access_token = token_in(answer, "access_token") or ""
        token = await self.provider.verified(text)
        check_kind(token)
        claims = token.claims
        check_id_token(claims, self.provider.audience, now=time.time(), nonce=nonce)
        check_access_token(claims, token.algorithm, access_token)
        return SignedIn(
            identity=self.identity(await self.with_groups(claims, access_token)),
            id_token=text,
            refresh_token=token_in(answer, "refresh_token"),
            sid=session_in(claims),
            nonce=nonce,
            has_groups=has_groups(claims, self._groups_claim),
        )

    async def with_groups(self, claims: dict[str, Any], access_token: str) -> dict[str, Any]:
        """Return the claims, with those of the userinfo endpoint if they have no groups.

        Raises TokenError and ProviderFault.
        """
        if has_groups(claims, self._groups_claim) or not access_token:
            return claims
        more = await self.provider.user_info(access_token)
        if more is None:
            return claims
        # OpenID Connect Core 1.0, section 5.3.2.
        if more.get("sub") != subject_of(claims):
            raise TokenError("the userinfo endpoint answers for another person")
        return {**claims, **more}

    def identity(self, claims: Mapping[str, Any]) -> PersonIdentity:
        """Return the person of verified claims. Raises TokenError."""
        return identity_of(claims, self.provider.audience.issuer, self._groups_claim)

    async def claim(self, connection: Connection, attempt: Attempt) -> None:
        """Use an attempt, once on all instances together. Raises Unauthenticated.

        Before the exchange: a provider ends all tokens of a code that is used twice.
        """
        if not await claim_use(connection, "state", attempt.state):
            raise refused("it was used before")

    async def read_logout(self, text: str) -> Logout:
        """Return what a logout token ends. Raises Unauthenticated and ProviderFault."""
        return await read_logout(self.provider, text)

    async def end(
        self, connection: Connection, log: AccessLog, logout: Logout, *, origin: Origin
    ) -> None:
        await end_sessions(connection, log, self.provider.audience.issuer, logout, origin=origin)

    async def logout_address(self, connection: Connection, session_id: str) -> str | None:
        """Return the address that signs out at the provider, None for other sessions."""
        tokens = await self.store.get(connection, session_id)
        if tokens is None or tokens.issuer != self.provider.audience.issuer:
            return None
        return logout_address(self.provider, self.public_url, tokens)

    async def _check_issuer(self, query: MultiMapping[str]) -> None:
        """Refuse a callback of another provider, which could steal the code (RFC 9207)."""
        metadata = await self.provider.metadata()
        issuer = _parameter(query, "iss")
        is_required = metadata.authorization_response_iss_parameter_supported
        if (issuer or is_required) and issuer != self.provider.audience.issuer:
            raise refused("the answer is from another provider: its iss is wrong")

    @property
    def _groups_claim(self) -> str:
        return self.provider.settings.groups_claim


def refused(words: str, *, reason: str | None = None) -> Unauthenticated:
    """Return the refusal of a sign-in. `reason` is for the access log, by default the words."""
    return Unauthenticated(
        "sign_in_refused",
        f"The sign-in was refused: {words}. Try again. If it is refused again, ask an "
        "administrator.",
        reason=f"oidc: {reason or words}",
    )


def token_in(answer: Mapping[str, Any], name: str) -> str | None:
    """Return a token of an answer, None if it is missing or no text."""
    value = answer.get(name)
    return value if isinstance(value, str) and value else None


def _parameter(query: MultiMapping[str], name: str) -> str:
    """Return a parameter of the callback, empty if it is missing. Raises Unauthenticated."""
    values = query.getall(name, [])
    if len(values) > 1 or any(len(value) > _PARAMETER_LENGTH_MAX for value in values):
        raise refused(f"the answer of the provider has several {name}, or a very long one")
    return values[0] if values else ""


def _exchange_error(answer: Mapping[str, Any]) -> Exception:
    """Return the error for a refusal of the token endpoint (RFC 6749, section 5.2)."""
    match answer.get("error"):
        case "invalid_grant":
            return refused("the provider does not accept the code. It was used, or is too old")
        case "invalid_client" | "unauthorized_client":
            return ProviderFault(
                "The provider's token endpoint does not accept this service. Check OIDC_CLIENT_ID "
                "and OIDC_CLIENT_SECRET."
            )
        case _:
            return ProviderFault("The provider's token endpoint refuses the request.")
