"""The folder of the backups: which there are, which is the latest, which may go.

What else lies there is left alone.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec

from app.names import counted
from app.operations.backups import manifest as manifests
from app.operations.backups import unfinished
from app.operations.backups.errors import BackupError
from app.operations.backups.manifest import Manifest
from app.operations.backups.unfinished import NAME
from app.private_files import read_regular, replace_private, write_private

DATA = "data.age"
LATEST = "latest"
_VERIFIED = "verified.json"
_BYTES_MAX = 65_536
# By more than this no two clocks differ that are right.
_AHEAD_MAX = timedelta(hours=1)


class Verification(msgspec.Struct, frozen=True, kw_only=True):
    """That a backup was restored in full, and what that took."""

    at: datetime
    restore_seconds: float
    revisions: int
    secrets: str


@dataclass(frozen=True, kw_only=True)
class Backup:
    """A backup that is there. `problem` says why it is not to be relied on, None when it is.

    One whose moment is yet to come, by a clock that was wrong, is good; but it is nobody's latest,
    and does not push others out.
    """

    folder: Path
    manifest: Manifest | None
    verification: Verification | None
    problem: str | None
    is_ahead: bool

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
    """The names of the removed backups, and the problems of those left for the operator."""

    removed: Sequence[str]
    problems: Sequence[str]


def find(folder: Path, name: str, public_key: str) -> Backup:
    """Return the backup of this name, or the latest good one. Raises BackupError."""
    if name == LATEST:
        backup = next(usable(list_all(folder, public_key)), None)
        if backup is None:
            raise BackupError(f"{folder}: there is no backup in it that is one of ours and whole")
        return backup
    if not NAME.fullmatch(name):
        raise BackupError(f"NAME: must be {LATEST}, or a name that `backup list` shows")
    if not (folder / name).is_dir():
        raise BackupError(f"NAME: there is no backup {name} in {folder}")
    return _look(folder / name, public_key)


def list_all(folder: Path, public_key: str) -> list[Backup]:
    """Return every backup, the newest first: by its moment, since names are by another clock."""
    try:
        names = [path.name for path in folder.iterdir() if path.is_dir() and not path.is_symlink()]
    except FileNotFoundError:
        return []
    found = [_look(folder / name, public_key) for name in names if NAME.fullmatch(name)]
    return sorted(found, key=_moment, reverse=True)


def usable(backups: Sequence[Backup]) -> Iterator[Backup]:
    """Yield those that are good, and not of a moment that is yet to come."""
    return (each for each in backups if each.problem is None and not each.is_ahead)


def _moment(backup: Backup) -> tuple[str, str]:
    # What is no good has only its name to go by.
    at = backup.manifest.created_at if backup.manifest and backup.problem is None else None
    return (f"{at.astimezone(UTC):%Y%m%dT%H%M%S.%f}" if at else backup.name), backup.name


def _look(folder: Path, public_key: str) -> Backup:
    manifest = problem = None
    is_ahead = False
    try:
        manifest = manifests.read(folder)
        manifests.check_signature(manifest, public_key)
        is_ahead = manifest.created_at > datetime.now(UTC) + _AHEAD_MAX
        if (size := _size(folder / DATA)) != manifest.bytes:
            problem = (
                f"{folder.name}: {DATA} has {counted(size, 'byte')} instead of {manifest.bytes}"
            )
    except BackupError as error:
        problem = str(error)
    return Backup(
        folder=folder,
        manifest=manifest,
        verification=_verification(folder),
        problem=problem,
        is_ahead=is_ahead,
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


def store_verification(folder: Path, verification: Verification) -> None:
    """Keep beside a backup that it was verified. Raises OSError."""
    text = msgspec.json.encode(verification).decode() + "\n"
    path = folder / _VERIFIED
    if path.exists():
        replace_private(path, text)
    else:
        write_private(path, text)


def prune(folder: Path, public_key: str, keep: int) -> Pruned:
    """Remove all but the newest good ones, and never the last that was verified.

    What is damaged or of others is left: it may be all that somebody has. Raises OSError.
    """
    removed = unfinished.clean(folder) if folder.is_dir() else []
    backups = list_all(folder, public_key)
    good = list(usable(backups))
    verified = next((backup for backup in good if backup.verification is not None), None)
    for backup in good[keep:]:
        if backup is not verified and unfinished.remove(backup.folder):
            removed.append(backup.name)
    problems = [text for backup in backups if (text := backup.problem or _ahead(backup))]
    return Pruned(removed=removed, problems=problems)


def _ahead(backup: Backup) -> str | None:
    told = f"{backup.name}: is of a moment that is yet to come; a clock is wrong, or was"
    return told if backup.is_ahead else None
