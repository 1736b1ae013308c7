"""What comes out of pg_dump, on its way through age into a file."""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import IO, BinaryIO

from app.crypto.recipients import encrypt_stream

BUFFER_BYTES = 256 * 1024


class Sealing:
    """One file as it is made; `run` is for a thread, and what it has counted for anybody."""

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
        """Seal all that comes. Never raises: `failure` says what went wrong."""
        self._source = source
        try:
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb", buffering=BUFFER_BYTES) as self._sink:
                encrypt_stream(self, self, self._recipients)
                self._sink.flush()
                os.fsync(self._sink.fileno())
        except Exception as error:  # noqa: BLE001 - carried over to who waits, whatever it is
            self.failure = self.failure or error

    def read(self, size: int) -> bytes:
        """Be the source of age."""
        assert self._source is not None  # noqa: S101 - set before age runs
        content = self._source.read(size)
        self.plain_bytes += len(content)
        return content

    def write(self, content: bytes) -> int:
        """Be the sink of age, which says of an error only that there was one."""
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
        """Do nothing: the file is flushed at its end."""
