"""Encrypted snapshot files: the state to start from while the database is away.

A generation lists the environments, with the file that has the entries of each, and the entries
that changed since that file was written. A file of entries is never written again, and removed when
no generation names it. Every file is written under another name, flushed and renamed. The last
three generations are retained. A file that cannot be opened (incomplete, changed, of another key or
tier) is skipped for the one before. Processes may share the folder: the one with the lock writes.
"""

import fcntl
import os
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec

from app.access.models import Token
from app.configuration.snapshots.snapshot import Configuration
from app.crypto.box import Box, BoxError
from app.crypto.derivation import Purpose, derive
from app.environments.models import Environment
from app.evaluation.lists import HashedList, ListContent, ListReference
from app.log import logger
from app.settings import Secret, Tier

log = logger(__name__)

GENERATIONS = 3
FOLDER = "snapshots"
_ENDING = ".snapshot"
_ENTRIES_ENDING = ".entries"
_LIST_ENDING = ".list"
# Raise the number when an older release cannot read the format.
_MAGIC = b"flagstone-snapshot-2\n"
# The generations of earlier releases have all entries, and name no other file.
_MAGICS = (_MAGIC, b"flagstone-snapshot-1\n")
_ENTRIES_MAGIC = b"flagstone-entries-1\n"
_LIST_MAGIC = b"flagstone-list-1\n"
# Encrypting a portion takes about 0.1 ms, during which the event loop waits for the interpreter.
_PORTION_BYTES = 64 * 1024
# An environment that is not in memory may need its lists so long after their last use.
_LIST_SECONDS = 7 * 86_400
_TOUCHED_SECONDS = 3_600


class SavedEnvironment(msgspec.Struct, frozen=True, kw_only=True):
    """An environment in a generation.

    `base` is the file with its entries, empty if `entries` has all, and None if they are not on the
    disk. `entries` and `removed` are the changes since the base. `behind_since` is the Unix time
    since when the environment has had a later revision than the entries.
    """

    environment: Environment
    entries: list[Configuration]
    removed: list[str] = []
    base: str | None = ""
    behind_since: float | None = None


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
        self._tier = tier.encode()
        self._context = _MAGIC + self._tier
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
        self._write_file(path, _MAGIC, self._context, portions)
        for old in self._generations()[GENERATIONS:]:
            old.unlink(missing_ok=True)

    def write_entries(self, name: str, portions: Iterable[bytes]) -> None:
        """Write a file of entries: a line of JSON for each. Raises OSError."""
        path = self._folder / f"{name}{_ENTRIES_ENDING}"
        self._write_file(path, _ENTRIES_MAGIC, self._entries_context(name), portions)

    def has_entries(self, name: str) -> bool:
        return (self._folder / f"{name}{_ENTRIES_ENDING}").exists()

    def write_list(self, list_: HashedList) -> None:
        """Write a list unless the disk has it. Raises OSError.

        The hashes are in a file that later states share, and their changes in another one.
        """
        self._write_content(f"{list_.base}.base", lambda: list_.without_changes)
        self._write_content(list_.reference.digest, lambda: list_.changes_alone)

    def _write_content(self, name: str, content: Callable[[], ListContent]) -> None:
        path = self._folder / f"{name}{_LIST_ENDING}"
        with suppress(FileNotFoundError):
            if time.time() - path.stat().st_mtime > _TOUCHED_SECONDS:
                os.utime(path)
            return
        raw = memoryview(msgspec.msgpack.encode(content()))
        portions = (
            bytes(raw[start : start + _PORTION_BYTES])
            for start in range(0, len(raw), _PORTION_BYTES)
        )
        self._write_file(path, _LIST_MAGIC, self._entries_context(name), portions)

    def read_list(self, reference: ListReference) -> HashedList | None:
        """Return a list, None if the disk does not have it or it cannot be read."""
        try:
            changes = self._read_content(reference.digest)
            content = self._read_content(f"{changes.base}.base")
            content = msgspec.structs.replace(content, changes=changes.changes)
            return HashedList(reference, content)
        except (OSError, BoxError, msgspec.MsgspecError, ValueError) as error:
            log.warning("list_unreadable", error=type(error).__name__)
            return None

    def _read_content(self, name: str) -> ListContent:
        raw = (self._folder / f"{name}{_LIST_ENDING}").read_bytes()
        if not raw.startswith(_LIST_MAGIC):
            raise BoxError("is not a list of this release")
        content = self._box.open(raw[len(_LIST_MAGIC) :], self._entries_context(name))
        return msgspec.msgpack.decode(content, type=ListContent)

    def remove_old_lists(self) -> None:
        """Remove lists that no environment has used for a week. Raises OSError."""
        for path in self._folder.glob(f"*{_LIST_ENDING}"):
            with suppress(FileNotFoundError):
                if time.time() - path.stat().st_mtime > _LIST_SECONDS:
                    path.unlink()

    def _write_file(
        self, path: Path, magic: bytes, context: bytes, portions: Iterable[bytes]
    ) -> None:
        draft = path.with_name(f"{path.name}.draft")
        try:
            descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(magic)
                for portion in self._box.closed(portions, context):
                    file.write(portion)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)
        self._flush_folder()

    def remove_older(self) -> None:
        """Remove every generation but the latest. Raises OSError."""
        for old in self._generations()[1:]:
            old.unlink(missing_ok=True)

    def remove_unused(self) -> None:
        """Remove the files of entries that no generation names. Raises OSError."""
        used: set[str | None] = set()
        for path in self._generations():
            with suppress(BoxError, msgspec.MsgspecError):
                used |= {saved.base for saved in self._open(path.read_bytes()).environments}
        for path in self._folder.glob(f"*{_ENTRIES_ENDING}"):
            if path.name.removesuffix(_ENTRIES_ENDING) not in used:
                path.unlink(missing_ok=True)

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

    def read_environment(self, name: str) -> SavedState | None:
        """Return a state with one environment and its entries, from the latest that can be read."""
        for path in self._generations():
            try:
                modified_at = path.stat().st_mtime
                state = self._open(path.read_bytes())
                saved = next((e for e in state.environments if e.environment.name == name), None)
                if saved is None:
                    return None
                if saved.base is None:
                    continue
                state = State(environments=[self.complete(saved)], tokens=())
            except (OSError, BoxError, msgspec.MsgspecError) as error:
                log.warning("snapshot_unreadable", file=path.name, error=type(error).__name__)
                continue
            since = min(modified_at, saved.behind_since or modified_at)
            return SavedState(
                state=state, age_seconds=max(0.0, time.time() - since), file=path.name
            )
        return None

    def complete(self, saved: SavedEnvironment) -> SavedEnvironment:
        """Return the environment with all its entries. Raises OSError, BoxError, MsgspecError."""
        if not saved.base:
            return saved
        raw = (self._folder / f"{saved.base}{_ENTRIES_ENDING}").read_bytes()
        if not raw.startswith(_ENTRIES_MAGIC):
            raise BoxError("is not a file of entries of this release")
        content = self._box.open(raw[len(_ENTRIES_MAGIC) :], self._entries_context(saved.base))
        # Line by line, so that the thread releases the interpreter in between.
        entries = {
            entry.key: entry
            for line in content.splitlines()
            for entry in (msgspec.json.decode(line, type=Configuration),)
        }
        entries |= {entry.key: entry for entry in saved.entries}
        for key in saved.removed:
            entries.pop(key, None)
        return msgspec.structs.replace(saved, entries=list(entries.values()), removed=[], base="")

    def _entries_context(self, name: str) -> bytes:
        return self._context + b"/" + name.encode()

    def release(self) -> None:
        lock, self._lock = self._lock, None
        if lock is not None:
            os.close(lock)

    def _open(self, raw: bytes) -> State:
        magic = next((magic for magic in _MAGICS if raw.startswith(magic)), None)
        if magic is None:
            raise BoxError("is not a snapshot of this release")
        content = self._box.open(raw[len(magic) :], magic + self._tier)
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
