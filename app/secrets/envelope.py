"""Envelope encryption: key-encryption keys wrap data keys, and data keys seal values.

All encryption is AES-256-GCM (NIST SP 800-38D) with random nonces of 96 bits. A sealed value is
bound to its environment, key and version: moved to another one, it cannot be plain.

A sealed value is, in bytes:

    1   version of this layout      1   algorithm
    8   id of the data key         32   commitment
    12  nonce                       n   ciphertext, of a salt of 32 bytes and the value
    16  tag

The commitment is SHA-256 of the salt and the value. The hash chain covers it, because it stays the
same when the value is resealed under another data key. The salt is sealed too, so the commitment
does not reveal the value, not even to a reader who guesses it. It does reveal copies: two entries
with one commitment hold one written value. As in any such cipher, the length of a value is visible.
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
_SECRET = "flagstone/secret/1"  # noqa: S105 - a purpose, not a password
_COMMITTED = b"flagstone/commitment/1"


class EnvelopeError(Exception):
    """The bytes have another key or entry version, or were changed."""


@dataclass(frozen=True, kw_only=True)
class EntryVersion:
    """The entry and version that a sealed value is bound to."""

    environment: str
    key: str
    version: int


@dataclass(frozen=True, kw_only=True)
class Sealed:
    """A secret's value as it is stored. It opens for its own entry and version only."""

    entry_version: EntryVersion
    content: bytes = field(repr=False)

    @property
    def commitment(self) -> bytes:
        """The same for two copies of one written value."""
        return commitment(self.content)


def sealed_of(environment: str, key: str, version: int, content: bytes | None) -> Sealed | None:
    """Return the sealed value of a row, None when the row has none."""
    if content is None:
        return None
    return Sealed(
        entry_version=EntryVersion(environment=environment, key=key, version=version),
        content=content,
    )


@dataclass(frozen=True)
class PlainSecret:
    """A value in clear, with the salt of its first writing."""

    salt: bytes = field(repr=False)
    value: bytes = field(repr=False)

    @property
    def commitment(self) -> bytes:
        return hashlib.sha256(_COMMITTED + self.salt + self.value).digest()


def fresh(value: bytes) -> PlainSecret:
    """Return a value that is written for the first time, with a new salt."""
    return PlainSecret(os.urandom(SALT_BYTES), value)


class DataKey:
    """An unwrapped data key of an environment."""

    def __init__(self, data_key_id: bytes, material: bytes) -> None:
        self.id = data_key_id
        self._cipher = AESGCM(material)

    def seal(self, plain: PlainSecret, entry_version: EntryVersion) -> bytes:
        """Seal a value. One key is safe for 2^32 values."""
        head = _HEAD + self.id + plain.commitment
        nonce = os.urandom(_NONCE_BYTES)
        content = plain.salt + plain.value
        return head + nonce + self._cipher.encrypt(nonce, content, _context(head, entry_version))

    def open(self, sealed: bytes, entry_version: EntryVersion) -> PlainSecret:
        """Open a value that was sealed for this entry version. Raises EnvelopeError."""
        if data_key_id(sealed) != self.id:
            raise EnvelopeError("belongs to another data key")
        head, rest = sealed[:_HEAD_BYTES], sealed[_HEAD_BYTES:]
        nonce, ciphertext = rest[:_NONCE_BYTES], rest[_NONCE_BYTES:]
        try:
            content = self._cipher.decrypt(nonce, ciphertext, _context(head, entry_version))
        except InvalidTag:
            raise EnvelopeError("cannot be plain") from None
        plain = PlainSecret(content[:SALT_BYTES], content[SALT_BYTES:])
        # AES-GCM is not key-committing: with two known keys, one ciphertext can open under both.
        if not hmac.compare_digest(plain.commitment, commitment(sealed)):
            raise EnvelopeError("does not match its commitment")
        return plain


def data_key_id(sealed: bytes) -> bytes:
    """Return the id of the data key. Raises EnvelopeError for bytes that are no sealed value."""
    if len(sealed) < SEALED_BYTES_MIN or sealed[:2] != _HEAD:
        raise EnvelopeError("is not a sealed value of this release")
    return sealed[2 : 2 + DATA_KEY_ID_BYTES]


def commitment(sealed: bytes) -> bytes:
    """Read the commitment, which needs no key."""
    return sealed[_COMMITMENT]


def wrap(
    material: bytes, kek: bytes, *, environment: str, data_key_id: bytes, kek_id: str
) -> bytes:
    nonce = os.urandom(_NONCE_BYTES)
    context = data_key_context(environment, data_key_id, kek_id)
    return _WRAPPED + nonce + AESGCM(kek).encrypt(nonce, material, context)


def unwrap(
    wrapped: bytes, kek: bytes, *, environment: str, data_key_id: bytes, kek_id: str
) -> bytes:
    """Unwrap a data key. Raises EnvelopeError."""
    if not wrapped.startswith(_WRAPPED):
        raise EnvelopeError("is not a wrapped key of this release")
    nonce = wrapped[len(_WRAPPED) : len(_WRAPPED) + _NONCE_BYTES]
    context = data_key_context(environment, data_key_id, kek_id)
    try:
        return AESGCM(kek).decrypt(nonce, wrapped[len(_WRAPPED) + _NONCE_BYTES :], context)
    except (InvalidTag, ValueError):
        raise EnvelopeError("cannot be unwrapped") from None


def data_key_context(environment: str, data_key_id: bytes, kek_id: str) -> bytes:
    """Return the authenticated context of a wrapped data key."""
    return joined(_DATA_KEY, environment, data_key_id, kek_id)


def _context(head: bytes, entry_version: EntryVersion) -> bytes:
    return joined(
        _SECRET, head, entry_version.environment, entry_version.key, entry_version.version
    )
