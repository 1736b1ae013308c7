"""The envelope: data keys wrapped by key-encryption keys, and values sealed by data keys.

AES-256-GCM (NIST SP 800-38D) throughout, with random nonces of 96 bits. Everything that a sealed
value belongs to is bound into it: moved to another environment, key or version it cannot be opened.

A sealed value is, in bytes:

    1   version of this layout      1   algorithm
    8   id of the data key         32   commitment
    12  nonce                       n   ciphertext, of a salt of 32 bytes and the value
    16  tag

The commitment is SHA-256 of the salt and the value. It stays when the value is sealed anew under
another data key, and so it is what the hash chain covers. Without the salt, which is sealed, it
tells nothing of the value, not even to somebody who guesses it; it does tell copies: two entries
with one commitment hold what was written once. The length of a value shows, as in any such cipher.
"""

import hashlib
import hmac
import os
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from app.crypto.fields import joined

KEY_BYTES = 32
DATA_KEY_ID_BYTES = 8
SALT_BYTES = 32
_NONCE_BYTES = 12
_COMMITMENT = slice(2 + DATA_KEY_ID_BYTES, 2 + DATA_KEY_ID_BYTES + 32)
_HEAD_BYTES = _COMMITMENT.stop
_TAG_BYTES = 16
SEALED_BYTES_MIN = _HEAD_BYTES + _NONCE_BYTES + SALT_BYTES + _TAG_BYTES

_LAYOUT = 1
_AES_256_GCM = 1
_HEAD = bytes((_LAYOUT, _AES_256_GCM))
_WRAPPED = bytes((_LAYOUT, _AES_256_GCM))
_DATA_KEY = "flagstone/data-key/1"
_SECRET = "flagstone/secret/1"  # noqa: S105 - what the key is for
_COMMITTED = b"flagstone/commitment/1"


class EnvelopeError(Exception):
    """It was made with another key, for another entry_version, or has been changed since."""


@dataclass(frozen=True, kw_only=True)
class EntryVersion:
    """Where a sealed value belongs, and nowhere else."""

    environment: str
    key: str
    version: int


@dataclass(frozen=True)
class PlainSecret:
    """What was sealed: the salt of its first writing, and the value's bytes."""

    salt: bytes = field(repr=False)
    value: bytes = field(repr=False)

    @property
    def commitment(self) -> bytes:
        return hashlib.sha256(_COMMITTED + self.salt + self.value).digest()


def fresh(value: bytes) -> PlainSecret:
    """Return a value that is written for the first time, with a salt of its own."""
    return PlainSecret(os.urandom(SALT_BYTES), value)


class DataKey:
    """A data key of an environment, unwrapped."""

    def __init__(self, data_key_id: bytes, material: bytes) -> None:
        self.id = data_key_id
        self._cipher = AESGCM(material)

    def seal(self, opened: PlainSecret, entry_version: EntryVersion) -> bytes:
        """Return the sealed value. One key is good for 2^32 of them."""
        head = _HEAD + self.id + opened.commitment
        nonce = os.urandom(_NONCE_BYTES)
        content = opened.salt + opened.value
        return head + nonce + self._cipher.encrypt(nonce, content, _context(head, entry_version))

    def open(self, sealed: bytes, entry_version: EntryVersion) -> PlainSecret:
        """Return what was sealed for this entry_version. Raises EnvelopeError."""
        if data_key_id(sealed) != self.id:
            raise EnvelopeError("belongs to another data key")
        head, rest = sealed[:_HEAD_BYTES], sealed[_HEAD_BYTES:]
        nonce, ciphertext = rest[:_NONCE_BYTES], rest[_NONCE_BYTES:]
        try:
            content = self._cipher.decrypt(nonce, ciphertext, _context(head, entry_version))
        except InvalidTag:
            raise EnvelopeError("cannot be opened") from None
        opened = PlainSecret(content[:SALT_BYTES], content[SALT_BYTES:])
        # AES-GCM alone lets who knows two keys make one ciphertext that opens under both.
        if not hmac.compare_digest(opened.commitment, commitment(sealed)):
            raise EnvelopeError("is not what was committed to")
        return opened


def data_key_id(sealed: bytes) -> bytes:
    """Return which data key opens it. Raises EnvelopeError for what was never sealed."""
    if len(sealed) < SEALED_BYTES_MIN or sealed[:2] != _HEAD:
        raise EnvelopeError("is not a sealed value of this release")
    return sealed[2 : 2 + DATA_KEY_ID_BYTES]


def commitment(sealed: bytes) -> bytes:
    """Return what the value is committed to, which needs no key to be read."""
    return sealed[_COMMITMENT]


def wrap(
    material: bytes, kek: bytes, *, environment: str, data_key_id: bytes, kek_id: str
) -> bytes:
    """Return a data key wrapped by a key-encryption key."""
    nonce = os.urandom(_NONCE_BYTES)
    context = data_key_context(environment, data_key_id, kek_id)
    return _WRAPPED + nonce + AESGCM(kek).encrypt(nonce, material, context)


def unwrap(
    wrapped: bytes, kek: bytes, *, environment: str, data_key_id: bytes, kek_id: str
) -> bytes:
    """Return the data key. Raises EnvelopeError."""
    if not wrapped.startswith(_WRAPPED):
        raise EnvelopeError("is not a wrapped key of this release")
    nonce = wrapped[len(_WRAPPED) : len(_WRAPPED) + _NONCE_BYTES]
    context = data_key_context(environment, data_key_id, kek_id)
    try:
        return AESGCM(kek).decrypt(nonce, wrapped[len(_WRAPPED) + _NONCE_BYTES :], context)
    except (InvalidTag, ValueError):
        raise EnvelopeError("cannot be unwrapped") from None


def data_key_context(environment: str, data_key_id: bytes, kek_id: str) -> bytes:
    """Return what a wrapped data key is bound to."""
    return joined(_DATA_KEY, environment, data_key_id, kek_id)


def _context(head: bytes, entry_version: EntryVersion) -> bytes:
    return joined(
        _SECRET, head, entry_version.environment, entry_version.key, entry_version.version
    )
