"""Files that hold something secret: mode 0600 from the first byte, and safely on the disk."""

import errno
import fcntl
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


def replace_private(path: Path, text: str) -> None:
    """Put a new file in an old one's place, whole or not at all, with its owner and mode.

    A link stays one, and what it leads to is replaced. Raises OSError.
    """
    path = path.resolve()
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
    """Write a new file that only its owner can read. Raises FileExistsError and OSError.

    A file that cannot be written, such as on a full disk, is removed.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def write_new(path: Path, text: str) -> None:
    """Write a new file as `write_private` does, whole or not at all. Raises FileExistsError."""
    if path.is_symlink() or path.exists():
        # Before a draft is written, for which a full disk has no space.
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
    draft = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    write_private(draft, text)
    try:
        os.link(draft, path)  # unlike rename, it fails when the name is taken
    finally:
        draft.unlink()


def open_regular(path: Path) -> BinaryIO:
    """Open a file for reading. Raises OSError, for a folder, a pipe or a device too.

    A pipe that nobody writes to would hold its reader up for ever, and a device may have no end.
    """
    file = open(path, "rb", opener=_without_waiting)  # noqa: SIM115 - the caller closes it
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(errno.EINVAL, "is no regular file")
    return file


def read_regular(path: Path, bytes_max: int) -> bytes:
    """Return what a regular file holds. Raises OSError, also for one that is longer."""
    with open_regular(path) as file:
        content = file.read(bytes_max + 1)
    if len(content) > bytes_max:
        raise OSError(errno.EFBIG, "is too long")
    return content


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Wait until no other process is in this block for the same folder. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _without_waiting(file: str, flags: int) -> int:
    return os.open(file, flags | os.O_NONBLOCK)
