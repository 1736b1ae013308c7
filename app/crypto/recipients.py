"""Encrypt a stream of any length for age recipients."""

from collections.abc import Sequence
from typing import Protocol

import pyrage
from pyrage import x25519


class ByteReader(Protocol):
    def read(self, size: int, /) -> bytes: ...


class ByteWriter(Protocol):
    def write(self, content: bytes, /) -> int: ...

    def flush(self) -> None: ...


def encrypt_stream(reader: ByteReader, writer: ByteWriter, recipients: Sequence[str]) -> None:
    """Write an age file that each of the recipients can open. Raises pyrage.EncryptError."""
    keys = [x25519.Recipient.from_str(recipient) for recipient in recipients]
    pyrage.encrypt_io(reader, writer, keys)  # type: ignore[arg-type]  # it needs less than its type
