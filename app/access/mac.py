"""The MACs that bind a row to its token and its grant.

The key is not in the database. So write access to the table is not enough to create a token, to add
scopes to one, or to extend its lifetime.
"""

import hmac
from collections.abc import Sequence
from datetime import UTC, datetime

from app.access.models import Grant, Token
from app.crypto.derivation import Purpose, derive
from app.settings import Secret

_LAPSED = b"lapsed\n"


def mac(key: Secret, text: str, grant: Grant) -> bytes:
    """Return the HMAC-SHA-256 of a token and its grant."""
    return _hmac(key, _content(text, grant))


def relay_key(key: Secret) -> Secret:
    """Return the key of the MACs that relays check. TOKEN_KEY cannot be computed from it.

    With it and write access to the database, a token can be made that relays accept. The service
    does not accept such a token.
    """
    return Secret(derive(key, Purpose.RELAYS).hex())


def relay_mac(key: Secret, text: str, token: Token) -> bytes | None:
    """Return the MAC for relays of a token that has none. `key` is that of relays.

    Returns None for a replaced token, since the order of its changes is not known.
    """
    if token.retires_at is not None:
        return None
    return _lapsed_all(key, mac(key, text, token.grant), token.lapsed)


def grant_mac(key: Secret, token_id: str, grant: Grant, created_at: datetime) -> bytes:
    """Return the HMAC-SHA-256 of a grant, which can be checked without the token's text.

    A rotation copies the grant and the lifetime to a new token. Without this MAC it would make a
    valid token from a row that was changed by hand.
    """
    created = f"\n{_isoformat(created_at)}".encode()
    return _hmac(key, b"grant\n" + _content(token_id, grant) + created)


def retired(key: Secret, before: bytes, retires_at: datetime) -> bytes:
    """Return the MAC of a token that gets an earlier end.

    It is computed from the previous MAC, since the token's text is not known. A row whose end is
    changed by hand becomes invalid. As in macaroons (Birgisson et al., NDSS 2014), a MAC can be
    narrowed, but not widened.
    """
    return _hmac(key, b"retired\n" + before + _isoformat(retires_at).encode())


def lapsed(key: Secret, before: bytes, environment: str) -> bytes:
    """Return the MAC of a token after one of its environments was deleted.

    It is computed from the previous MAC, as in `retired`. The token cannot reach a later
    environment of that name.
    """
    return _lapsed_all(key, before, [environment])


def holds(key: Secret, text: str, token: Token) -> bool:
    """Return whether this is the text of the token, and its row was not changed by hand."""
    expected = mac(key, text, token.grant)
    if token.retires_at is None:
        return hmac.compare_digest(_lapsed_all(key, expected, token.lapsed), token.mac)
    # The row does not record how many of its environments lapsed before it retired.
    for lapsed_before in range(len(token.lapsed) + 1):
        candidate = retired(key, expected, token.retires_at)
        if hmac.compare_digest(
            _lapsed_all(key, candidate, token.lapsed[lapsed_before:]), token.mac
        ):
            return True
        expected = _lapsed_all(key, expected, token.lapsed[lapsed_before : lapsed_before + 1])
    return False


def _lapsed_all(key: Secret, before: bytes, environments: Sequence[str]) -> bytes:
    """Return the MAC after these environments were deleted in this order."""
    for name in environments:
        before = _hmac(key, _LAPSED + before + name.encode())
    return before


def _content(subject: str, grant: Grant) -> bytes:
    expiry = _isoformat(grant.expires_at) if grant.expires_at else "never"
    parts = [subject, ",".join(sorted(grant.scopes)), ",".join(sorted(grant.environments)), expiry]
    if not grant.has_all_keys:
        # A release that knows no prefixes computes another MAC, and refuses the token.
        parts.append(f"prefixes {','.join(sorted(grant.prefixes))}")
    return "\n".join(parts).encode()


def _hmac(key: Secret, content: bytes) -> bytes:
    return hmac.digest(derive(key, Purpose.TOKENS), content, "sha256")


def _isoformat(at: datetime) -> str:
    return at.astimezone(UTC).isoformat()
