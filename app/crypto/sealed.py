"""A sealed setting: text that may lie anywhere, which only its recipients' identities can open.

`sealed:age:v1:` and then, in base64url without padding, an age file (age-encryption.org/v1) for one
or more X25519 recipients. What it holds is text, three lines and the rest:

    flagstone/setting/1
    DATABASE_URL
    age1…,age1…
    postgresql://…

The name binds it: copied to another setting it is refused. The recipients are listed because an age
file does not tell them, and whoever adds one must know the others. age authenticates every byte,
and only one spelling of the base64url is taken, so nothing can be changed unnoticed. It does not
say who sealed it: anybody who knows a recipient can. Who may write the settings decides them.
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
# How every age file begins in base64url: with it, a sealed value is known by its end as well.
_AGE_TEXT = base64.urlsafe_b64encode(_AGE[: len(_AGE) // 3 * 3]).decode()


class SealedError(Exception):
    """Cannot be sealed or opened. The text is a rule that follows a name, without any value."""


@dataclass(frozen=True, kw_only=True)
class OpenedSetting:
    value: Secret
    recipients: tuple[str, ...]


def is_sealed(text: str) -> bool:
    """Say whether this is a sealed value, or was one before somebody damaged it.

    A damaged one must never pass for a value of its own, such as a long enough key.
    """
    return text.strip().lower().startswith("sealed:") or _AGE_TEXT in text


def seal(name: str, value: Secret, recipients: Sequence[str]) -> str:
    """Return the sealed value of a setting. Raises SealedError."""
    listed = tuple(sorted({parse_recipient(recipient) for recipient in recipients}))
    if not 1 <= len(listed) <= RECIPIENTS_MAX:
        raise SealedError(f"must be sealed for 1 to {RECIPIENTS_MAX} recipients")
    if not value.reveal().strip() or is_sealed(value.reveal()):
        raise SealedError("must not be empty, nor sealed already")
    content = "\n".join((_HEADER, name, ",".join(listed), value.reveal()))
    try:
        plain = content.encode()
    except UnicodeEncodeError:
        raise SealedError("must be UTF-8") from None
    file = pyrage.encrypt(plain, [x25519.Recipient.from_str(recipient) for recipient in listed])
    text = PREFIX + base64.urlsafe_b64encode(file).decode().rstrip("=")
    if len(text) > TEXT_BYTES_MAX:
        raise SealedError(f"must not be above {TEXT_BYTES_MAX} bytes when it is sealed")
    return text


def open_sealed(name: str, text: str, identity: Identity) -> OpenedSetting:
    """Return what was sealed under this name. Raises SealedError."""
    try:
        content = identity.decrypt(_age_file(text.strip())).decode()
    except ForeignError:
        raise SealedError(
            "is sealed for other recipients than this identity, or has been changed since"
        ) from None
    except UnicodeDecodeError:
        content = ""
    header, _, rest = content.partition("\n")
    sealed_name, _, rest = rest.partition("\n")
    listed, _, value = rest.partition("\n")
    if header != _HEADER:
        raise SealedError("is not a sealed setting, or one of a later release")
    if sealed_name != name:
        raise SealedError("is sealed for another setting")
    recipients = tuple(parse_recipient(recipient) for recipient in listed.split(","))
    if not set(recipients) & set(identity.recipients):
        raise SealedError("does not list the identity that opens it among its recipients")
    if not value.strip() or is_sealed(value):
        raise SealedError("holds no value, or one that is sealed again")
    return OpenedSetting(value=Secret(value), recipients=recipients)


def parse_recipient(text: str) -> str:
    """Return a recipient in its one spelling. Raises SealedError."""
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
    # Decoders take some characters for others; only what seal() writes is taken here.
    spelled = base64.urlsafe_b64encode(file).decode().rstrip("=") == encoded
    if len(text) > TEXT_BYTES_MAX or not spelled or not file.startswith(_AGE):
        raise SealedError("is sealed, and damaged: some of it is missing or was changed")
    return file
