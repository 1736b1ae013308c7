"""The checks of an ID token after its signature (OpenID Connect Core 1.0, section 3.1.3.7)."""

import base64
import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from app.access.oidc.signatures import TokenError
from app.access.people.models import IDENTIFIER_MAX

SKEW_SECONDS = 300
# Ed25519 hashes with SHA-512.
_HASHES = {"256": hashlib.sha256, "384": hashlib.sha384}


@dataclass(frozen=True, kw_only=True)
class Audience:
    """The issuer and the client that a token must be for."""

    issuer: str
    client_id: str


def check_id_token(
    claims: Mapping[str, Any],
    audience: Audience,
    *,
    now: float,
    nonce: str | None,
    subject: str | None = None,
) -> None:
    """Check the claims of an ID token. Raises TokenError.

    `nonce` is that of the request. After a refresh a token may lack it, and `subject` must be that
    of the first token (section 12.2).
    """
    check_audience(claims, audience)
    check_times(claims, now)
    _check_nonce(claims.get("nonce"), nonce, is_required=subject is None)
    found = subject_of(claims)
    if subject is not None and found != subject:
        raise TokenError("the ID token is for another person")


def check_audience(claims: Mapping[str, Any], audience: Audience) -> None:
    """Check the issuer and the audience of an ID token or a logout token. Raises TokenError."""
    if claims.get("iss") != audience.issuer:
        raise TokenError("the token is from another issuer")
    value = claims.get("aud")
    audiences = [value] if isinstance(value, str) else value
    if not isinstance(audiences, list) or audience.client_id not in audiences:
        raise TokenError("the token is for another application")
    party = claims.get("azp")
    # Several audiences: the token must say that it was issued to this client.
    if party != audience.client_id and (party is not None or len(audiences) > 1):
        raise TokenError("the token was issued to another application")


def check_times(claims: Mapping[str, Any], now: float) -> None:
    """Check when the token was issued and expires, with 5 minutes of skew. Raises TokenError."""
    expires, issued = _time(claims, "exp"), _time(claims, "iat")
    not_before = _time(claims, "nbf") if "nbf" in claims else issued
    if expires <= now - SKEW_SECONDS:
        raise TokenError("the token has expired, or the clock of this host is fast")
    if max(issued, not_before) > now + SKEW_SECONDS:
        raise TokenError("the token is from the future, or the clock of this host is slow")


def subject_of(claims: Mapping[str, Any]) -> str:
    """Return the subject, the identity of a person at the provider. Raises TokenError."""
    subject = claims.get("sub")
    if not isinstance(subject, str) or not 0 < len(subject) <= IDENTIFIER_MAX:
        rule = f"a text of at most {IDENTIFIER_MAX} characters"
        raise TokenError(f"the claim sub is missing, or is not {rule}")
    if not subject.isprintable():
        raise TokenError("the claim sub contains characters that cannot be printed")
    return subject


def check_access_token(claims: Mapping[str, Any], algorithm: str, access_token: str) -> None:
    """Check `at_hash`, if the ID token has it, so that no access token of another sign-in is used.

    Raises TokenError.
    """
    if "at_hash" not in claims:
        return
    digest = _HASHES.get(algorithm[-3:], hashlib.sha512)(access_token.encode()).digest()
    expected = base64.urlsafe_b64encode(digest[: len(digest) // 2]).rstrip(b"=").decode()
    if not _equal(claims["at_hash"], expected):
        raise TokenError("the access token does not belong to the ID token")


def _check_nonce(value: Any, nonce: str | None, *, is_required: bool) -> None:
    if value is None and not is_required:
        return
    if nonce is None or not _equal(value, nonce):
        raise TokenError("the ID token is not from this sign-in: its nonce is wrong")


def _equal(value: Any, expected: str) -> bool:
    return isinstance(value, str) and hmac.compare_digest(value.encode(), expected.encode())


def _time(claims: Mapping[str, Any], name: str) -> float:
    value = claims.get(name)
    # A bool is an int.
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TokenError(f"the claim {name} is missing, or is no number")
    return value
