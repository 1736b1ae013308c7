"""Files that hold something secret: mode 0600 from the first byte, and safely on the disk."""

import errno
import os
import secrets
import stat
from pathlib import Path
from typing import BinaryIO


def replace_private(path: Path, text: str) -> None:
    """Put a new file in an old one's place, whole or not at all, with its owner and mode.

    Raises OSError.
    """
    found = path.stat()
    draft = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    try:
        write_private(draft, text)
        draft.chmod(found.st_mode & 0o777)
        if (found.st_uid, found.st_gid) != (os.geteuid(), os.getegid()):
            os.chown(draft, found.st_uid, found.st_gid)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def write_private(path: Path, text: str) -> None:
    """Write a new file that only its owner can read. Raises FileExistsError when there is one."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def open_regular(path: Path) -> BinaryIO:
    """Open a file for reading. Raises OSError, for a folder, a pipe or a device too.

    A pipe that nobody writes to would hold its reader up for ever, and a device may have no end.
    """
    file = open(path, "rb", opener=_without_waiting)  # noqa: SIM115 - the caller closes it
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(errno.EINVAL, "is no regular file")
    return file


def _without_waiting(file: str, flags: int) -> int:
    return os.open(file, flags | os.O_NONBLOCK)
