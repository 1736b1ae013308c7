"""The backups in BACKUP_DIR: list, find and prune them. Other files there are never touched."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec

from app.names import counted
from app.operations.backups import manifest as manifests
from app.operations.backups import partial_backup
from app.operations.backups.errors import BackupError
from app.operations.backups.manifest import Manifest
from app.operations.backups.partial_backup import NAME
from app.private_files import read_regular, store_private
from app.program import PROGRAM

DATA = "data.age"
_CREATE = f"Create one with `{PROGRAM} backup create`"
LATEST = "latest"
_VERIFIED = "verified.json"
_BYTES_MAX = 65_536
# The clocks of two hosts may differ by this much.
_AHEAD_MAX = timedelta(hours=1)


class Verification(msgspec.Struct, frozen=True, kw_only=True):
    """The last successful verification of a backup, by a full restore."""

    at: datetime
    restore_seconds: float
    revisions: int
    secrets: str


@dataclass(frozen=True, kw_only=True)
class Backup:
    """A stored backup. `problem` says why it is not usable, None if it is.

    `is_ahead`: its time is in the future, by a wrong clock. Such a backup can be restored, but it
    is never the latest, and does not count when others are pruned.
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
        """Return the members for `backup list --json`."""
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
            raise BackupError(f"{folder}: has no usable backup of this installation. {_CREATE}")
        return backup
    if not NAME.fullmatch(name):
        raise BackupError(f"NAME: must be {LATEST}, or a name from `{PROGRAM} backup list`")
    if not (folder / name).is_dir():
        raise BackupError(f"NAME: there is no backup {name} in {folder}")
    return _load(folder / name, public_key)


def list_all(folder: Path, public_key: str) -> list[Backup]:
    """Return every backup, the newest first, by the time of its snapshot."""
    try:
        names = [path.name for path in folder.iterdir() if path.is_dir() and not path.is_symlink()]
    except FileNotFoundError:
        return []
    backups = [_load(folder / name, public_key) for name in names if NAME.fullmatch(name)]
    return sorted(backups, key=_sort_key, reverse=True)


def usable(backups: Sequence[Backup]) -> Iterator[Backup]:
    """Yield the backups without a problem whose time is not in the future."""
    return (backup for backup in backups if backup.problem is None and not backup.is_ahead)


def _sort_key(backup: Backup) -> tuple[str, str]:
    # The manifest of a damaged backup cannot be trusted: sort it by its name.
    at = backup.manifest.created_at if backup.manifest and backup.problem is None else None
    return (f"{at.astimezone(UTC):%Y%m%dT%H%M%S.%f}" if at else backup.name), backup.name


def _load(folder: Path, public_key: str) -> Backup:
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
    """Store the verification in the backup's folder. Raises OSError."""
    text = msgspec.json.encode(verification).decode() + "\n"
    store_private(folder / _VERIFIED, text)


def prune(folder: Path, public_key: str, keep: int) -> Pruned:
    """Remove all usable backups but the newest, and never the one that was verified last.

    Damaged backups and those of other installations stay, for the operator. Raises OSError.
    """
    removed = partial_backup.clean(folder) if folder.is_dir() else []
    backups = list_all(folder, public_key)
    candidates = list(usable(backups))
    verified = next((backup for backup in candidates if backup.verification is not None), None)
    for backup in candidates[keep:]:
        if backup is not verified and partial_backup.remove(backup.folder):
            removed.append(backup.name)
    problems = [text for backup in backups if (text := backup.problem or _ahead(backup))]
    return Pruned(removed=removed, problems=problems)


def _ahead(backup: Backup) -> str | None:
    text = f"{backup.name}: its time is in the future; a clock is or was wrong"
    return text if backup.is_ahead else None
