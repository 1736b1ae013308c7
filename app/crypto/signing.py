"""Ed25519 signatures (RFC 8032) that prove which installation made a file.

The private key is derived from TOKEN_KEY, so all instances share it without another setting. With
the public key, an auditor can verify exported chain heads even if the database was changed by hand.
"""

import base64
import binascii

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from app.crypto.derivation import Purpose, derive
from app.crypto.secret import Secret


class Signer:
    """Signs content for a purpose; the signature is not valid for another purpose."""

    def __init__(self, token_key: Secret) -> None:
        key = derive(token_key, Purpose.SIGNATURES)
        self._private = Ed25519PrivateKey.from_private_bytes(key)

    @property
    def public_key(self) -> str:
        """The public half, 43 characters of base64url."""
        return _text(self._private.public_key().public_bytes_raw())

    def sign(self, purpose: str, content: bytes) -> str:
        """Return the signature, 86 characters of base64url."""
        return _text(self._private.sign(_message(purpose, content)))


def is_signed(public_key: str, purpose: str, content: bytes, signature: str) -> bool:
    """Check that the owner of the key signed this content for this purpose."""
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
