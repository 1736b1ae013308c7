"""A box: bytes that nobody without the key can read, change, or pass off as something else.

AES-256-GCM (NIST SP 800-38D) under a key derived by HKDF-SHA-256 (RFC 5869), with a random nonce of
96 bits. A box's purpose goes into its key and its context into the authentication, so that what was
boxed for one use cannot be opened for another.
"""

import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from app.crypto.secret import Secret

_NONCE_BYTES = 12
_KEY_BYTES = 32


class BoxError(Exception):
    """It was made with another key, for another purpose or context, or has been changed since."""


class Box:
    """Closes and opens bytes for one purpose."""

    def __init__(self, secret: Secret, purpose: str) -> None:
        derivation = HKDF(SHA256(), length=_KEY_BYTES, salt=None, info=purpose.encode())
        self._cipher = AESGCM(derivation.derive(secret.reveal().encode()))

    def close(self, content: bytes, context: bytes) -> bytes:
        """Return nonce, ciphertext and tag. One key is good for 2^32 boxes."""
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, content, context)

    def open(self, box: bytes, context: bytes) -> bytes:
        """Return the content. Raises BoxError."""
        try:
            return self._cipher.decrypt(box[:_NONCE_BYTES], box[_NONCE_BYTES:], context)
        except (InvalidTag, ValueError):
            raise BoxError("cannot be opened") from None
