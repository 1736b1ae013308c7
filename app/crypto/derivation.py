"""Derive a key for each purpose from TOKEN_KEY.

A new purpose gets its key by HKDF-SHA-256 (RFC 5869). Three purposes are older than this function
and keep their first formula. Their results are stored, or used by another instance: a
token's MAC in its row, a request's digest beside its retained answer, a ticket in a browser. With
another formula an older instance that runs beside this one, or replaces it after a rollback, would
refuse them; tokens could never be converted, because their text is not stored. The formulas do not
weaken each other: HKDF uses TOKEN_KEY as the message of its first HMAC, not as its key.
"""

import hmac
from enum import StrEnum

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from app.crypto.fields import joined
from app.crypto.secret import Secret

_KEY_BYTES = 32


class Purpose(StrEnum):
    """The purposes of derived keys. A value is part of the formula: never change one."""

    TOKENS = "tokens"
    STREAM_TICKETS = "flagstone/stream-ticket"
    REQUEST_DIGESTS = "flagstone/request/1"
    SIGNATURES = "flagstone/signing/1"
    DISK_SNAPSHOTS = "flagstone/snapshot"
    SESSIONS = "flagstone/session/1"
    SIGN_IN_CODES = "flagstone/sign-in-code/1"
    RELAYS = "flagstone/relay/1"
    PEOPLE = "flagstone/people/1"
    OIDC_ATTEMPTS = "flagstone/oidc-attempt/1"
    OIDC_TOKENS = "flagstone/oidc-token/1"


def derive(token_key: Secret, purpose: Purpose) -> bytes:
    """Return the key for one purpose; it is the same on every instance with this TOKEN_KEY."""
    material = token_key.reveal().encode()
    match purpose:
        case Purpose.TOKENS:
            return material
        case Purpose.STREAM_TICKETS:
            return hmac.digest(material, purpose.encode(), "sha256")
        case Purpose.REQUEST_DIGESTS:
            return joined(purpose, material)
        case _:
            hkdf = HKDF(SHA256(), length=_KEY_BYTES, salt=None, info=purpose.encode())
            return hkdf.derive(material)
