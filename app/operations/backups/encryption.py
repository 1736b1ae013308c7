"""The encrypted file of a backup, written while pg_dump runs."""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import IO, BinaryIO

from app.crypto.recipients import encrypt_stream

BUFFER_BYTES = 256 * 1024


class EncryptedFile:
    """An age file. `run` writes it in a thread; any thread may read the counters."""

    def __init__(self, path: Path, recipients: Sequence[str]) -> None:
        self._path = path
        self._recipients = recipients
        self._digest = hashlib.sha256()
        self._source: IO[bytes] | None = None
        self._sink: BinaryIO | None = None
        self.plain_bytes = 0
        self.bytes = 0
        self.failure: Exception | None = None

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()

    def run(self, source: IO[bytes]) -> None:
        """Encrypt the source until it ends. Never raises: `failure` has the error."""
        self._source = source
        try:
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb", buffering=BUFFER_BYTES) as self._sink:
                encrypt_stream(self, self, self._recipients)
                self._sink.flush()
                os.fsync(self._sink.fileno())
        except Exception as error:  # noqa: BLE001 - the waiting thread raises it
            self.failure = self.failure or error

    def read(self, size: int) -> bytes:
        """Read for age, which calls this."""
        assert self._source is not None  # noqa: S101 - set before age runs
        content = self._source.read(size)
        self.plain_bytes += len(content)
        return content

    def write(self, content: bytes) -> int:
        """Write for age, which calls this and hides which error occurred."""
        assert self._sink is not None  # noqa: S101 - set before age runs
        try:
            self._sink.write(content)
        except OSError as error:
            self.failure = error
            raise
        self._digest.update(content)
        self.bytes += len(content)
        return len(content)

    def flush(self) -> None:
        """Do nothing: `run` flushes the file at its end."""
