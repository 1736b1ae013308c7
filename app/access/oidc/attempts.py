"""A sign-in on its way to the provider and back.

It is sealed in a cookie and not stored: strangers cannot fill a table, and the callback may reach
another instance. `claim_oidc_use` makes it count once on all of them.
"""

import base64
import binascii
import hashlib
import secrets
import time

import msgspec

from app.crypto.box import Box, BoxError
from app.crypto.derivation import Purpose, derive
from app.settings import Secret

LIFETIME_SECONDS = 600
_CONTEXT = b"attempt"


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """`replaces` is the session of the browser at the start, which the new session ends."""

    state: str
    nonce: str
    verifier: str
    next: str
    replaces: str | None
    expires_at: float

    @classmethod
    def begun(cls, next_: str, replaces: str | None) -> "Attempt":
        return cls(
            state=secrets.token_urlsafe(32),
            nonce=secrets.token_urlsafe(32),
            # RFC 7636, section 4.1: 43 to 128 characters.
            verifier=secrets.token_urlsafe(48),
            next=next_,
            replaces=replaces,
            expires_at=time.time() + LIFETIME_SECONDS,
        )

    @property
    def challenge(self) -> str:
        digest = hashlib.sha256(self.verifier.encode()).digest()
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


class AttemptBox:
    """Seals attempts with a key that is derived from TOKEN_KEY."""

    def __init__(self, key: Secret) -> None:
        self._box = Box(derive(key, Purpose.OIDC_ATTEMPTS))

    def close(self, attempt: Attempt) -> str:
        """Return the text of the cookie."""
        return base64.urlsafe_b64encode(
            self._box.close(msgspec.json.encode(attempt), _CONTEXT)
        ).decode()

    def open(self, text: str) -> Attempt | None:
        """Return the attempt of a cookie, None if it is forged or expired."""
        try:
            raw = base64.urlsafe_b64decode(text.encode("ascii"))
            attempt = msgspec.json.decode(self._box.open(raw, _CONTEXT), type=Attempt)
        except (BoxError, ValueError, binascii.Error):
            return None
        return attempt if attempt.expires_at > time.time() else None
