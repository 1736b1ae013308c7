"""The MACs that bind a row to its token and to what it may do.

The key is not in the database: whoever can write rows can neither make a token, nor promote one,
nor let one live longer.
"""

import hmac
from collections.abc import Sequence
from datetime import UTC, datetime

from app.access.models import Grant, Token
from app.crypto.derivation import Purpose, derive
from app.settings import Secret

_LAPSED = b"lapsed\n"


def mac(key: Secret, text: str, grant: Grant) -> bytes:
    """Return the HMAC-SHA-256 of a token and of all that it may do."""
    return _hmac(key, _content(text, grant))


def grant_mac(key: Secret, token_id: str, grant: Grant, created_at: datetime) -> bytes:
    """Return the HMAC-SHA-256 of a grant, for when the token's text is not known.

    Whoever replaces a token passes its grant on: else a row that was changed by hand, and is
    worthless for that, would come out of it as a good one. The length of its life is passed on
    too, so both ends of that are covered.
    """
    began = f"\n{_moment(created_at)}".encode()
    return _hmac(key, b"grant\n" + _content(token_id, grant) + began)


def retired(key: Secret, before: bytes, retires_at: datetime) -> bytes:
    """Return the MAC that takes the place of the one before when a token gets an earlier end.

    Made of the MAC, as the token's text is not known then. So whoever moves or clears the end by
    hand makes the row worthless. As in macaroons (Birgisson et al., NDSS 2014), a MAC is narrowed
    by whoever has it, and never widened.
    """
    return _hmac(key, b"retired\n" + before + _moment(retires_at).encode())


def lapsed(key: Secret, before: bytes, environment: str) -> bytes:
    """Return the MAC that takes the place of the one before when an environment was deleted.

    Made of the MAC, as in `retired`. It keeps the token from a later environment of that name.
    """
    return _lapsed_all(key, before, [environment])


def holds(key: Secret, text: str, token: Token) -> bool:
    """Tell whether this is the text of the token, and its row is as we wrote it."""
    made = mac(key, text, token.grant)
    if token.retires_at is None:
        return hmac.compare_digest(_lapsed_all(key, made, token.lapsed), token.mac)
    # The row does not say how many of its environments had lapsed before it retired.
    for place in range(len(token.lapsed) + 1):
        ended = retired(key, made, token.retires_at)
        if hmac.compare_digest(_lapsed_all(key, ended, token.lapsed[place:]), token.mac):
            return True
        made = _lapsed_all(key, made, token.lapsed[place : place + 1])
    return False


def _lapsed_all(key: Secret, before: bytes, environments: Sequence[str]) -> bytes:
    """Return the MAC after these environments were deleted, in this order."""
    for name in environments:
        before = _hmac(key, _LAPSED + before + name.encode())
    return before


def _content(whose: str, grant: Grant) -> bytes:
    expiry = _moment(grant.expires_at) if grant.expires_at else "never"
    parts = (whose, ",".join(sorted(grant.scopes)), ",".join(sorted(grant.environments)), expiry)
    return "\n".join(parts).encode()


def _hmac(key: Secret, content: bytes) -> bytes:
    return hmac.digest(derive(key, Purpose.TOKENS), content, "sha256")


def _moment(at: datetime) -> str:
    return at.astimezone(UTC).isoformat()
