"""Signatures that say which installation something comes from: Ed25519 (RFC 8032).

The key is derived from TOKEN_KEY, which every instance has, so there is nothing more to keep. Who
has the public half can check what lies outside the database, such as the heads of the chain, long
after somebody had power over everything inside.
"""

import base64
import binascii

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from app.crypto.secret import Secret

_INFO = b"flagstone/signing/1"


class Signer:
    """Signs under a purpose, so that what was signed for one can never pass for another."""

    def __init__(self, key: Secret) -> None:
        derived = HKDF(algorithm=SHA256(), length=32, salt=None, info=_INFO)
        self._private = Ed25519PrivateKey.from_private_bytes(derived.derive(key.reveal().encode()))

    @property
    def public_key(self) -> str:
        """The public half, 43 characters of base64url."""
        return _text(self._private.public_key().public_bytes_raw())

    def sign(self, purpose: str, content: bytes) -> str:
        """Return the signature, 86 characters of base64url."""
        return _text(self._private.sign(_message(purpose, content)))


def is_signed(public_key: str, purpose: str, content: bytes, signature: str) -> bool:
    """Tell whether the holder of the key has signed this content for this purpose."""
    try:
        public = Ed25519PublicKey.from_public_bytes(_bytes(public_key))
        public.verify(_bytes(signature), _message(purpose, content))
    except (InvalidSignature, ValueError):
        return False
    return True


def _message(purpose: str, content: bytes) -> bytes:
    return f"flagstone/{purpose}\0".encode() + content


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _bytes(text: str) -> bytes:
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, UnicodeEncodeError) as error:
        raise ValueError from error
