"""Export a key ring as an armored age file, for another host or an offline copy.

The content is the text of a key ring without comments, so `age --decrypt` can open it without this
service. age authenticates every byte but not the sender: the operator who imports a ring must know
where it comes from.
"""

from collections.abc import Sequence

import pyrage
from pyrage import x25519

from app.crypto.identity import ForeignError, Identity
from app.crypto.sealed import RECIPIENTS_MAX, SealedError, parse_recipient
from app.program import PROGRAM
from app.secrets.keyring import RING_BYTES_MAX, KeyRing, KeyRingError, parse_key_ring

# Armor adds a third, and each recipient adds its lines.
EXPORT_BYTES_MAX = 2 * RING_BYTES_MAX

_ARMOR = b"-----BEGIN AGE ENCRYPTED FILE-----"
_BINARY = b"age-encryption.org/v1"


def seal_key_ring(ring: KeyRing, recipients: Sequence[str]) -> str:
    """Encrypt a key ring for the recipients. Raises SealedError."""
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
    """Decrypt the key ring of an age file. Raises SealedError, KeyRingError."""
    if not file.lstrip().startswith((_ARMOR, _BINARY)):
        raise SealedError(f"must be an age file, as `{PROGRAM} key export` writes it")
    try:
        text = identity.decrypt(file).decode("ascii")
    except ForeignError:
        raise SealedError(
            "is sealed for other recipients than this identity, or was changed"
        ) from None
    except UnicodeDecodeError:
        text = "?"
    ring = parse_key_ring(text)
    if not ring.keys:
        raise KeyRingError("holds no key")
    return ring
