"""Age identities: the private keys of a host, which open sealed settings and backups.

Only age's native X25519 keys (age-encryption.org/v1) are supported: `age1…` is a recipient, and
`AGE-SECRET-KEY-1…` its identity. The library's type prints its key, so it never leaves this module.
"""

from collections.abc import Sequence
from datetime import UTC, datetime

import pyrage
from pyrage import x25519

from app.crypto.recipients import ByteReader, ByteWriter

IDENTITIES_MAX = 32


class IdentityError(Exception):
    """The identity is missing or invalid. The text names the rule and no part of the key."""


class ForeignError(Exception):
    """The file was encrypted for other recipients, or was changed."""


class Identity:
    """One key, or several during a key rotation. Each of them can decrypt."""

    __slots__ = ("_keys",)

    def __init__(self, keys: Sequence[x25519.Identity]) -> None:
        self._keys = tuple(keys)

    @property
    def recipients(self) -> tuple[str, ...]:
        return tuple(str(key.to_public()) for key in self._keys)

    def decrypt(self, file: bytes) -> bytes:
        """Decrypt an age file. Raises ForeignError."""
        try:
            return pyrage.decrypt(file, self._keys)
        except pyrage.DecryptError:
            raise ForeignError from None

    def decrypt_stream(self, reader: ByteReader, writer: ByteWriter) -> None:
        """Decrypt an age file in authenticated chunks. Raises ForeignError.

        A truncated file is detected at the end: do not use the output before this returns.
        """
        try:
            pyrage.decrypt_io(reader, writer, self._keys)  # type: ignore[arg-type]  # see recipients.py
        except (pyrage.DecryptError, OSError):
            raise ForeignError from None


def parse_identity(text: str) -> Identity:
    """Parse the format of `age-keygen`: one key per line, and comments. Raises IdentityError."""
    lines = [line.strip() for line in text.splitlines()]
    keys = [line for line in lines if line and not line.startswith("#")]
    if not 1 <= len(keys) <= IDENTITIES_MAX:
        raise IdentityError("must contain an age identity, AGE-SECRET-KEY-1…")
    try:
        return Identity([x25519.Identity.from_str(key) for key in keys])
    except pyrage.IdentityError:
        raise IdentityError("must contain only age identities, AGE-SECRET-KEY-1…") from None


def new_identity(now: datetime) -> tuple[str, str]:
    """Return the text of a new identity file, and its recipient."""
    key = x25519.Identity.generate()
    recipient = str(key.to_public())
    created = now.astimezone(UTC).isoformat(timespec="seconds")
    return f"# created: {created}\n# public key: {recipient}\n{key}\n", recipient
