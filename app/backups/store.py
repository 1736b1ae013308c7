"""The folder of the backups: names, what is under way, what was left behind, what may go.

A backup that is being made is `NAME.partial`, under a lock of its process, and gets its name by one
rename at the end. The kernel lets go of the lock however the process ends, so who finds a partial
one without a lock knows that nobody works on it any more. What else lies there is left alone.
"""

import fcntl
import os
import re
import secrets
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from app.backups import manifest as manifests
from app.backups.errors import BackupError
from app.backups.manifest import Manifest
from app.files import alone_in, read_regular, replace_private, write_private

DATA = "data.age"
LATEST = "latest"
_VERIFIED = "verified.json"
_PARTIAL = ".partial"
_NAME = re.compile(r"[0-9]{8}T[0-9]{6}Z-[0-9a-f]{8}")
_BYTES_MAX = 65_536


class Verification(msgspec.Struct, frozen=True, kw_only=True):
    """That a backup was restored in full, and what that took."""

    at: datetime
    restore_seconds: float
    revisions: int
    secrets: str


@dataclass(frozen=True, kw_only=True)
class Backup:
    """A backup that is there. `problem` says why it is not to be relied on, None when it is."""

    folder: Path
    manifest: Manifest | None
    verification: Verification | None
    problem: str | None

    @property
    def name(self) -> str:
        return self.folder.name

    def as_json(self) -> Mapping[str, Any]:
        """Return what a machine is told of it."""
        return {
            "name": self.name,
            "problem": self.problem,
            "manifest": msgspec.to_builtins(self.manifest),
            "verification": msgspec.to_builtins(self.verification),
        }


@dataclass(frozen=True, kw_only=True)
class Pruned:
    """The names of what went, and what was left although it is no good, with the reason."""

    removed: Sequence[str]
    left: Mapping[str, str]


def find(folder: Path, name: str, public_key: str) -> Backup:
    """Return the backup of this name, or the latest good one. Raises BackupError."""
    if name == LATEST:
        good = [backup for backup in list_all(folder, public_key) if backup.problem is None]
        if not good:
            raise BackupError(f"{folder}: there is no backup in it that is one of ours and whole")
        return good[0]
    if not _NAME.fullmatch(name):
        raise BackupError(f"NAME: must be {LATEST}, or a name that `backup list` shows")
    if not (folder / name).is_dir():
        raise BackupError(f"NAME: there is no backup {name} in {folder}")
    return _look(folder / name, public_key)


def list_all(folder: Path, public_key: str) -> list[Backup]:
    """Return every backup, the newest first."""
    try:
        names = [path.name for path in folder.iterdir() if path.is_dir() and not path.is_symlink()]
    except FileNotFoundError:
        return []
    found = (name for name in names if _NAME.fullmatch(name))
    return [_look(folder / name, public_key) for name in sorted(found, reverse=True)]


def _look(folder: Path, public_key: str) -> Backup:
    manifest = problem = None
    try:
        manifest = manifests.read(folder)
        manifests.check_signature(manifest, public_key)
        if (size := _size(folder / DATA)) != manifest.bytes:
            problem = f"{folder.name}: {DATA} has {size} bytes instead of {manifest.bytes}"
    except BackupError as error:
        problem = str(error)
    return Backup(
        folder=folder, manifest=manifest, verification=_verification(folder), problem=problem
    )


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _verification(folder: Path) -> Verification | None:
    try:
        return msgspec.json.decode(read_regular(folder / _VERIFIED, _BYTES_MAX), type=Verification)
    except (OSError, msgspec.MsgspecError):
        return None


def note_verified(folder: Path, verification: Verification) -> None:
    """Keep beside a backup that it was verified. Raises OSError."""
    text = msgspec.json.encode(verification).decode() + "\n"
    path = folder / _VERIFIED
    if path.exists():
        replace_private(path, text)
    else:
        write_private(path, text)


@contextmanager
def new(folder: Path) -> Iterator[Path]:
    """Yield the folder of a new backup, which is removed unless `finish` has given it its name.

    Raises OSError.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    clean(folder)
    name = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(4)}"
    partial = folder / f"{name}{_PARTIAL}"
    with alone_in(folder):
        # Under its lock before anybody can take it for left behind.
        partial.mkdir(mode=0o700)
        descriptor = os.open(partial, os.O_RDONLY | os.O_DIRECTORY)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        yield partial
    finally:
        os.close(descriptor)
        shutil.rmtree(partial, ignore_errors=True)


def name_of(partial: Path) -> str:
    """Return the name that a backup under way will have."""
    return partial.name.removesuffix(_PARTIAL)


def finish(partial: Path) -> Path:
    """Give a backup its name, once all of it is on the disk; return its folder."""
    done = partial.with_name(name_of(partial))
    _sync(partial)
    partial.rename(done)
    _sync(done.parent)
    return done


def clean(folder: Path) -> list[str]:
    """Remove what processes have left that are gone, and return the names."""
    removed = []
    with alone_in(folder):
        for partial in folder.glob(f"*{_PARTIAL}"):
            if _NAME.fullmatch(name_of(partial)) and _is_left_behind(partial):
                shutil.rmtree(partial, ignore_errors=True)
                removed.append(partial.name)
    return removed


def _is_left_behind(partial: Path) -> bool:
    with suppress(OSError):
        descriptor = os.open(partial, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        finally:
            os.close(descriptor)
        return True
    return False


def prune(folder: Path, public_key: str, keep: int) -> Pruned:
    """Remove all but the newest good ones, and never the last that was verified.

    What is damaged or of others is left: it may be all that somebody has. Raises OSError.
    """
    removed = clean(folder) if folder.is_dir() else []
    backups = list_all(folder, public_key)
    good = [backup for backup in backups if backup.problem is None]
    verified = next((backup for backup in good if backup.verification is not None), None)
    for backup in good[keep:]:
        if backup is not verified:
            _remove(backup.folder)
            removed.append(backup.name)
    left = {backup.name: backup.problem for backup in backups if backup.problem is not None}
    return Pruned(removed=removed, left=left)


def _remove(folder: Path) -> None:
    # By this name it is not a backup any more, should this be interrupted: the next one goes on.
    doomed = folder.with_name(f"{folder.name}{_PARTIAL}")
    folder.rename(doomed)
    shutil.rmtree(doomed)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
