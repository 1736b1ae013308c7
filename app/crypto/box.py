"""Encrypt and authenticate bytes with AES-256-GCM (NIST SP 800-38D).

The nonce is random and has 96 bits. The context is authenticated too, so a box made in one context
cannot be opened in another.
"""

import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_NONCE_BYTES = 12


class BoxError(Exception):
    """The box has another key or context, or was changed."""


class Box:
    """Encrypts and decrypts bytes under a key of 32 bytes, derived for this use alone."""

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(key)

    def close(self, content: bytes, context: bytes) -> bytes:
        """Return nonce, ciphertext and tag. One key is safe for 2^32 boxes."""
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, content, context)

    def open(self, box: bytes, context: bytes) -> bytes:
        """Return the content. Raises BoxError."""
        try:
            return self._cipher.decrypt(box[:_NONCE_BYTES], box[_NONCE_BYTES:], context)
        except (InvalidTag, ValueError):
            raise BoxError("cannot be opened") from None
