"""A key ring on its way from one host to another, or into a safe: an armored age file.

What it holds is the text of a key ring, without remarks, so `age --decrypt` opens it too when
nothing of ours is left. age authenticates every byte, and does not say who sealed it: whoever
imports a ring decides whose it is.
"""

from collections.abc import Sequence

import pyrage
from pyrage import x25519

from app.crypto.identity import ForeignError, Identity
from app.crypto.sealed import RECIPIENTS_MAX, SealedError, parse_recipient
from app.secrets.keyring import RING_BYTES_MAX, KeyRing, KeyRingError, parse_key_ring

# Armor is a third longer, and each recipient takes its lines.
EXPORT_BYTES_MAX = 2 * RING_BYTES_MAX

_ARMOR = b"-----BEGIN AGE ENCRYPTED FILE-----"
_BINARY = b"age-encryption.org/v1"


def seal_key_ring(ring: KeyRing, recipients: Sequence[str]) -> str:
    """Return the age file of a key ring. Raises SealedError."""
    listed = sorted({parse_recipient(recipient) for recipient in recipients})
    if not 1 <= len(listed) <= RECIPIENTS_MAX:
        raise SealedError(f"must be 1 to {RECIPIENTS_MAX} recipients")
    file = pyrage.encrypt(
        ring.text.encode("ascii"),
        [x25519.Recipient.from_str(recipient) for recipient in listed],
        armored=True,
    )
    return file.decode("ascii")


def open_key_ring(file: bytes, identity: Identity) -> KeyRing:
    """Return the key ring of an age file, armored or not. Raises SealedError, KeyRingError."""
    if not file.lstrip().startswith((_ARMOR, _BINARY)):
        raise SealedError("must be an age file, as `key export` writes it")
    try:
        text = identity.decrypt(file).decode("ascii")
    except ForeignError:
        raise SealedError(
            "is sealed for other recipients than this identity, or has been changed since"
        ) from None
    except UnicodeDecodeError:
        text = "?"
    ring = parse_key_ring(text)
    if not ring.keys:
        raise KeyRingError("holds no key")
    return ring
