"""A backup while it is made, and while it goes: what is no backup yet, or no longer.

It is `NAME.partial`, under a lock of its process, and gets its name by one rename at the end. The
kernel lets go of the lock however the process ends, so who finds one without a lock knows that
nobody works on it any more.
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
def new(folder: Path) -> Iterator[Path]:
    """Yield the folder of a new backup, which is removed unless `finish` has given it its name.

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
    with exclusive_in(folder):
        for partial in _partial(folder):
            if _is_locked(partial) is False:
                shutil.rmtree(partial, ignore_errors=True)
                removed += [] if partial.exists() else [partial.name]
    return removed


def is_under_way(folder: Path) -> bool:
    """Tell whether somebody makes a backup just now. Raises OSError."""
    return any(_is_locked(partial) for partial in _partial(folder))


def _partial(folder: Path) -> list[Path]:
    found = folder.glob(f"*{_PARTIAL}")
    return [path for path in found if NAME.fullmatch(name_of(path))]


def _is_locked(partial: Path) -> bool | None:
    """Tell whether a process has it; None for what cannot be asked."""
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
    """Remove a backup; tell whether it was there. Raises OSError."""
    # By this name it is not a backup any more, should this be interrupted: the next one goes on.
    doomed = folder.with_name(f"{folder.name}{_PARTIAL}")
    with suppress(FileNotFoundError):
        # Or it was somebody else who did it meanwhile.
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
