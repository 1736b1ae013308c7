"""Wrap data keys, by the key ring of this process or by an executable that calls a KMS.

Both return the id of the key that wrapped, and unwrap by that id.
"""

from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Protocol

from app.errors import reason
from app.private_files import read_regular
from app.secrets.envelope import EnvelopeError, unwrap, wrap
from app.secrets.keyring import RING_BYTES_MAX, KeyRing, KeyRingError, parse_key_ring


class KeyMissingError(Exception):
    """The key of this id is missing, or another key has this id."""

    def __init__(self, kek_id: str, reason: str) -> None:
        super().__init__(f"{kek_id}: {reason}")
        self.kek_id = kek_id
        self.reason = reason


@dataclass(frozen=True, kw_only=True)
class Wrapped:
    """A wrapped data key, with its environment and the id of the key that wrapped it."""

    environment: str
    id: bytes
    kek_id: str
    wrapped: bytes = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class StoredDataKey(Wrapped):
    """A row of `data_keys`; `wrapped` is empty once it is destroyed."""

    created_at: datetime
    retired_at: datetime | None
    destroyed_at: datetime | None


class Wrapper(Protocol):
    """Wraps and unwraps data keys. Both methods raise KeyMissingError."""

    @property
    def active_id(self) -> str | None:
        """The id of the key that wraps new data keys, None when only a command knows it."""

    async def wrap(self, material: bytes, environment: str, data_key_id: bytes) -> Wrapped: ...

    async def unwrap(self, wrapped: Wrapped) -> bytes: ...


class RingWrapper:
    """Wraps by the key ring, and reloads it when its file changes.

    So a running service accepts a new key. If the file cannot be used, the ring loaded before stays
    in use, and `problem` says why.
    """

    def __init__(self, ring: KeyRing, file: Path | None = None) -> None:
        self.ring = ring
        self.problem: str | None = None
        self._file = file
        self._loaded_stamp = _stamp(file)

    @property
    def active_id(self) -> str | None:
        return self.ring.active.id if self.ring.active else None

    async def wrap(self, material: bytes, environment: str, data_key_id: bytes) -> Wrapped:
        self.refresh()
        key = self.ring.active
        if key is None:
            raise KeyMissingError("active", "the key ring is empty")
        content = wrap(
            material, key.material, environment=environment, data_key_id=data_key_id, kek_id=key.id
        )
        return Wrapped(environment=environment, id=data_key_id, kek_id=key.id, wrapped=content)

    async def unwrap(self, wrapped: Wrapped) -> bytes:
        self.refresh()
        key = self.ring.get(wrapped.kek_id)
        if key is None:
            raise KeyMissingError(wrapped.kek_id, "is not in the key ring")
        try:
            return unwrap(
                wrapped.wrapped,
                key.material,
                environment=wrapped.environment,
                data_key_id=wrapped.id,
                kek_id=key.id,
            )
        except EnvelopeError:
            raise KeyMissingError(wrapped.kek_id, "is another key in the key ring") from None

    def refresh(self) -> None:
        """Reload the file if it has changed."""
        stamp = _stamp(self._file)
        if self._file is None or stamp == self._loaded_stamp:
            return
        self._loaded_stamp = stamp
        try:
            self.ring = read_key_ring(self._file)
        except KeyRingError as error:
            self.problem = str(error)
        else:
            self.problem = None


def read_key_ring(file: Path) -> KeyRing:
    """Return the key ring of a file. Raises KeyRingError."""
    try:
        return parse_key_ring(read_regular(file, RING_BYTES_MAX).decode("ascii"))
    except UnicodeDecodeError:
        raise KeyRingError("the file must hold ASCII text") from None
    except OSError as error:
        raise KeyRingError(f"the file cannot be read: {reason(error)}") from None


def _stamp(file: Path | None) -> tuple[int, ...]:
    if file is None:
        return ()
    try:
        status = file.stat()
    except OSError:
        return ()
    return status.st_mtime_ns, status.st_ino, status.st_size
