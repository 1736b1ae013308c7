"""Encrypted snapshot files: the state to start from while the database is away.

Each file is a generation. It is written under another name, flushed and renamed. The last three
generations are retained. A file that cannot be opened (incomplete, changed, of another key or tier)
is skipped for the one before. Processes may share the folder: the one with the lock writes.
"""

import fcntl
import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from app.access.models import Token
from app.configuration.snapshots.snapshot import Configuration
from app.crypto.box import Box, BoxError
from app.crypto.derivation import Purpose, derive
from app.environments.models import Environment
from app.log import logger
from app.settings import Secret, Tier

log = logger(__name__)

GENERATIONS = 3
FOLDER = "snapshots"
_ENDING = ".snapshot"
# Raise the number when an older release cannot read the format.
_MAGIC = b"flagstone-snapshot-1\n"


class SavedEnvironment(msgspec.Struct, frozen=True, kw_only=True):
    environment: Environment
    entries: list[Configuration]


class State(msgspec.Struct, frozen=True, kw_only=True):
    """All environments, entries and tokens: enough to answer requests.

    `relay_key` is the key of the tokens' MACs, on a relay.
    """

    environments: Sequence[SavedEnvironment]
    tokens: Sequence[Token]
    relay_key: str | None = None


@dataclass(frozen=True, kw_only=True)
class SavedState:
    """The state in a file, and the seconds since the database last confirmed it."""

    state: State
    age_seconds: float
    file: str


class Disk:
    """The generations in one folder. Every method blocks: call it from a thread."""

    def __init__(self, data_dir: Path, key: Secret, tier: Tier) -> None:
        self._folder = data_dir / FOLDER
        self._box = Box(derive(key, Purpose.DISK_SNAPSHOTS))
        # A file of staging must not be served in production, even under the same key.
        self._context = _MAGIC + tier.encode()
        self._lock: int | None = None

    def acquire(self) -> bool:
        """Acquire the lock of the folder, if it is free. Return whether this process has it.

        Raises OSError. The kernel releases the lock when its process ends.
        """
        if self._lock is not None and os.fstat(self._lock).st_nlink == 0:
            self.release()  # the folder was removed
        if self._lock is None:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(lock)
            else:
                self._lock = lock
        return self._lock is not None

    def write(self, portions: Iterable[bytes]) -> None:
        """Write a new generation: the JSON of a `State`. Raises OSError.

        Each portion is encrypted and written by itself. So the thread releases the interpreter in
        between, and the file is never in memory as a whole.
        """
        generations = self._generations()
        number = _number(generations[0]) + 1 if generations else 1
        path = self._folder / f"{number:012d}{_ENDING}"
        draft = path.with_suffix(".draft")
        try:
            descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(_MAGIC)
                for portion in self._box.closed(portions, self._context):
                    file.write(portion)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)
        self._flush_folder()
        for old in self._generations()[GENERATIONS:]:
            old.unlink(missing_ok=True)

    def remove_older(self) -> None:
        """Remove every generation but the latest. Raises OSError."""
        for old in self._generations()[1:]:
            old.unlink(missing_ok=True)

    def confirm(self) -> bool:
        """Set the time of the latest file to now. Return whether there is one. Raises OSError."""
        for latest in self._generations()[:1]:
            os.utime(latest)
            return True
        return False

    def read(self) -> SavedState | None:
        """Return the latest generation that can be read, or None."""
        for path in self._generations():
            try:
                age_seconds = time.time() - path.stat().st_mtime
                state = self._open(path.read_bytes())
            except (OSError, BoxError, msgspec.MsgspecError) as error:
                log.warning("snapshot_unreadable", file=path.name, error=type(error).__name__)
                continue
            return SavedState(state=state, age_seconds=max(0.0, age_seconds), file=path.name)
        return None

    def release(self) -> None:
        lock, self._lock = self._lock, None
        if lock is not None:
            os.close(lock)

    def _open(self, raw: bytes) -> State:
        if not raw.startswith(_MAGIC):
            raise BoxError("is not a snapshot of this release")
        content = self._box.open(raw[len(_MAGIC) :], self._context)
        return msgspec.json.decode(content, type=State)

    def _generations(self) -> list[Path]:
        """Return the files, the latest first."""
        paths = self._folder.glob(f"*{_ENDING}")
        return sorted((path for path in paths if path.stem.isdecimal()), key=_number, reverse=True)

    def _flush_folder(self) -> None:
        """Flush the folder, so that the new name survives a loss of power."""
        descriptor = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _number(path: Path) -> int:
    return int(path.stem)
