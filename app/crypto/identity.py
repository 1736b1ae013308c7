"""An identity: the private half of a host's age keys, which opens what was sealed for it.

Only age's native X25519 keys (age-encryption.org/v1): `age1…` is a recipient, `AGE-SECRET-KEY-1…`
its identity. The library prints an identity as its key, so it never leaves this module.
"""

from collections.abc import Sequence
from datetime import UTC, datetime

import pyrage
from pyrage import x25519

from app.crypto.recipients import ByteReader, ByteWriter

IDENTITIES_MAX = 32


class IdentityError(Exception):
    """There is no identity, or it cannot be used. The text is a rule, and holds no part of it."""


class ForeignError(Exception):
    """Sealed for other recipients, or changed since."""


class Identity:
    """One key, or several while one replaces another; each may open."""

    __slots__ = ("_keys",)

    def __init__(self, keys: Sequence[x25519.Identity]) -> None:
        self._keys = tuple(keys)

    @property
    def recipients(self) -> tuple[str, ...]:
        return tuple(str(key.to_public()) for key in self._keys)

    def decrypt(self, file: bytes) -> bytes:
        """Return what an age file holds. Raises ForeignError."""
        try:
            return pyrage.decrypt(file, self._keys)
        except pyrage.DecryptError:
            raise ForeignError from None

    def decrypt_stream(self, reader: ByteReader, writer: ByteWriter) -> None:
        """Read an age file and write what it holds, piece by piece as each is authenticated.

        That none is missing at the end is known once this returns, and no sooner. Raises
        ForeignError.
        """
        try:
            pyrage.decrypt_io(reader, writer, self._keys)  # type: ignore[arg-type]  # see recipients.py
        except (pyrage.DecryptError, OSError):
            raise ForeignError from None


def parse_identity(text: str) -> Identity:
    """Read what `age-keygen` writes: a key a line, and comments. Raises IdentityError."""
    lines = [line.strip() for line in text.splitlines()]
    keys = [line for line in lines if line and not line.startswith("#")]
    if not 1 <= len(keys) <= IDENTITIES_MAX:
        raise IdentityError("must hold an age identity, AGE-SECRET-KEY-1…")
    try:
        return Identity([x25519.Identity.from_str(key) for key in keys])
    except pyrage.IdentityError:
        raise IdentityError("must hold age identities alone, AGE-SECRET-KEY-1…") from None


def new_identity(now: datetime) -> tuple[str, str]:
    """Return the text of a file with a new identity, and its recipient."""
    key = x25519.Identity.generate()
    recipient = str(key.to_public())
    created = now.astimezone(UTC).isoformat(timespec="seconds")
    return f"# created: {created}\n# public key: {recipient}\n{key}\n", recipient
