"""Encrypt and authenticate bytes with AES-256-GCM (NIST SP 800-38D).

The nonce is random and has 96 bits. The context is authenticated too, so a box made in one context
cannot be opened in another.
"""

import os
from collections.abc import Iterable, Iterator

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import GCM

_NONCE_BYTES = 12


class BoxError(Exception):
    """The box has another key or context, or was changed."""


class Box:
    """Encrypts and decrypts bytes under a key of 32 bytes, derived for this use alone."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._cipher = AESGCM(key)

    def close(self, content: bytes, context: bytes) -> bytes:
        """Return nonce, ciphertext and tag. One key is safe for 2^32 boxes."""
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, content, context)

    def closed(self, portions: Iterable[bytes], context: bytes) -> Iterator[bytes]:
        """Yield the box of the joined portions in portions, as `close` returns it."""
        nonce = os.urandom(_NONCE_BYTES)
        encryptor = Cipher(AES(self._key), GCM(nonce)).encryptor()
        encryptor.authenticate_additional_data(context)
        yield nonce
        for portion in portions:
            yield encryptor.update(portion)
        yield encryptor.finalize()
        yield encryptor.tag

    def open(self, box: bytes, context: bytes) -> bytes:
        """Return the content. Raises BoxError."""
        try:
            return self._cipher.decrypt(box[:_NONCE_BYTES], box[_NONCE_BYTES:], context)
        except (InvalidTag, ValueError):
            raise BoxError("cannot be opened") from None
