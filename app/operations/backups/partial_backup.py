"""The folder of a backup that is being created or removed.

Its name is `NAME.partial`, its process holds a lock on it, and one rename at the end gives it its
name. The kernel releases the lock with the process, so a folder without a lock is abandoned.
"""

import fcntl
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from app.errors import reason
from app.operations.backups.errors import BackupError
from app.private_files import exclusive_in

NAME = re.compile(r"[0-9]{8}T[0-9]{6}Z-[0-9a-f]{8}")
_PARTIAL = ".partial"


@contextmanager
def create(folder: Path) -> Iterator[Path]:
    """Yield the folder of a new backup, and remove it unless `finish` has renamed it.

    Raises BackupError when BACKUP_DIR cannot be created, and OSError.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise BackupError(f"BACKUP_DIR: {folder} cannot be created: {reason(error)}") from None
    clean(folder)
    name = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(4)}"
    partial = folder / f"{name}{_PARTIAL}"
    with exclusive_in(folder):
        # Lock it before another process can take it for abandoned.
        partial.mkdir(mode=0o700)
        descriptor = os.open(partial, os.O_RDONLY | os.O_DIRECTORY)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        yield partial
    finally:
        os.close(descriptor)
        shutil.rmtree(partial, ignore_errors=True)


def name_of(partial: Path) -> str:
    """Return the name of the finished backup."""
    return partial.name.removesuffix(_PARTIAL)


def finish(partial: Path) -> Path:
    """Write the folder to the disk, give it its name, and return it."""
    done = partial.with_name(name_of(partial))
    _sync(partial)
    partial.rename(done)
    _sync(done.parent)
    return done


def clean(folder: Path) -> list[str]:
    """Remove abandoned folders, and return their names."""
    removed = []
    with exclusive_in(folder):
        for partial in _partial(folder):
            if _is_locked(partial) is False:
                shutil.rmtree(partial, ignore_errors=True)
                removed += [] if partial.exists() else [partial.name]
    return removed


def is_running(folder: Path) -> bool:
    """Return whether a process creates a backup now. Raises OSError."""
    return any(_is_locked(partial) for partial in _partial(folder))


def _partial(folder: Path) -> list[Path]:
    paths = folder.glob(f"*{_PARTIAL}")
    return [path for path in paths if NAME.fullmatch(name_of(path))]


def _is_locked(partial: Path) -> bool | None:
    """Return whether a process holds the lock; None if that cannot be checked."""
    try:
        descriptor = os.open(partial, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return None
    finally:
        os.close(descriptor)
    return False


def remove(folder: Path) -> bool:
    """Remove a backup; return whether it existed. Raises OSError."""
    # Rename it first: after an interruption it is no backup, and `clean` removes the rest.
    doomed = folder.with_name(f"{folder.name}{_PARTIAL}")
    with suppress(FileNotFoundError):
        # Another process may have removed it meanwhile.
        folder.rename(doomed)
        shutil.rmtree(doomed)
        return True
    return False


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
