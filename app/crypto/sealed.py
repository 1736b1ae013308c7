"""Sealed settings: encrypted values that only the identities of their recipients can open.

A sealed value is `sealed:age:v1:` and an age file (age-encryption.org/v1) in base64url without
padding, for one or more X25519 recipients. The content is three lines and the value:

    flagstone/setting/1
    DATABASE_URL
    age1…,age1…
    postgresql://…

The name binds the value: copied to another setting, it is refused. The recipients are listed,
because an age file does not name them, and adding one needs the others. age authenticates every
byte, and only one form of the base64url is accepted, so any change is detected. The sender is not
authenticated: everyone who knows a recipient can seal a value, so restrict who writes settings.
"""

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass

import pyrage
from pyrage import x25519

from app.crypto.identity import ForeignError, Identity
from app.crypto.secret import Secret

PREFIX = "sealed:age:v1:"
RECIPIENTS_MAX = 32
TEXT_BYTES_MAX = 65_536

_HEADER = "flagstone/setting/1"
_AGE = b"age-encryption.org/v1\n"
# The start of every age file in base64url. It recognises a sealed value without its prefix.
_AGE_TEXT = base64.urlsafe_b64encode(_AGE[: len(_AGE) // 3 * 3]).decode()


class SealedError(Exception):
    """A value cannot be sealed or opened. The text follows a setting's name, and has no value."""


@dataclass(frozen=True, kw_only=True)
class OpenedSetting:
    value: Secret
    recipients: tuple[str, ...]


def is_sealed(text: str) -> bool:
    """Return whether this is a sealed value, intact or damaged.

    A damaged one must not be used as a plain value, for example as a key of sufficient length.
    """
    return text.strip().lower().startswith("sealed:") or _AGE_TEXT in text


def seal(name: str, value: Secret, recipients: Sequence[str]) -> str:
    """Seal the value of a setting. Raises SealedError."""
    listed = tuple(sorted({parse_recipient(recipient) for recipient in recipients}))
    if not 1 <= len(listed) <= RECIPIENTS_MAX:
        raise SealedError(f"must be sealed for 1 to {RECIPIENTS_MAX} recipients")
    if not value.reveal().strip() or is_sealed(value.reveal()):
        raise SealedError("must not be empty or already sealed")
    content = "\n".join((_HEADER, name, ",".join(listed), value.reveal()))
    try:
        plain = content.encode()
    except UnicodeEncodeError:
        raise SealedError("must be UTF-8") from None
    file = pyrage.encrypt(plain, [x25519.Recipient.from_str(recipient) for recipient in listed])
    text = PREFIX + base64.urlsafe_b64encode(file).decode().rstrip("=")
    if len(text) > TEXT_BYTES_MAX:
        raise SealedError(f"must have at most {TEXT_BYTES_MAX} bytes when sealed")
    return text


def open_sealed(name: str, text: str, identity: Identity) -> OpenedSetting:
    """Open the value that was sealed for this setting. Raises SealedError."""
    try:
        content = identity.decrypt(_age_file(text.strip())).decode()
    except ForeignError:
        raise SealedError(
            "is sealed for other recipients than this identity, or was changed"
        ) from None
    except UnicodeDecodeError:
        content = ""
    header, _, rest = content.partition("\n")
    sealed_name, _, rest = rest.partition("\n")
    listed, _, value = rest.partition("\n")
    if header != _HEADER:
        raise SealedError("is not a sealed setting, or was sealed by a later release")
    if sealed_name != name:
        raise SealedError("is sealed for another setting")
    recipients = tuple(parse_recipient(recipient) for recipient in listed.split(","))
    if not set(recipients) & set(identity.recipients):
        raise SealedError("does not list the identity that opens it among its recipients")
    if not value.strip() or is_sealed(value):
        raise SealedError("contains no value, or another sealed value")
    return OpenedSetting(value=Secret(value), recipients=recipients)


def parse_recipient(text: str) -> str:
    """Return the canonical form of an age recipient. Raises SealedError."""
    try:
        return str(x25519.Recipient.from_str(text.strip()))
    except pyrage.RecipientError:
        raise SealedError("must be sealed for age recipients, age1…") from None


def _age_file(text: str) -> bytes:
    encoded = text.removeprefix(PREFIX)
    if encoded == text:
        raise SealedError(f"is sealed, and must begin with {PREFIX}")
    try:
        padded = encoded.encode("ascii") + b"=" * (-len(encoded) % 4)
        file = base64.b64decode(padded, altchars=b"-_", validate=True)
    except (UnicodeEncodeError, binascii.Error):
        file = b""
    # Decoders accept several forms of the same bytes; accept only the form of seal().
    is_canonical = base64.urlsafe_b64encode(file).decode().rstrip("=") == encoded
    if len(text) > TEXT_BYTES_MAX or not is_canonical or not file.startswith(_AGE):
        raise SealedError("is sealed, but damaged: a part is missing or was changed")
    return file
