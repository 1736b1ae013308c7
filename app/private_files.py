"""Files with secrets: mode 0600 from the first byte, and flushed to the disk."""

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
    """Replace a file atomically, with the same owner and mode. Raises OSError.

    The target of a symbolic link is replaced, not the link.
    """
    path = path.resolve()
    status = path.stat()
    draft = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    try:
        write_private(draft, text)
        draft.chmod(status.st_mode & 0o777)
        if (status.st_uid, status.st_gid) != (os.geteuid(), os.getegid()):
            os.chown(draft, status.st_uid, status.st_gid)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def store_private(path: Path, text: str) -> None:
    """Replace a file, or write it if it is missing. Raises OSError."""
    if path.exists():
        replace_private(path, text)
    else:
        write_private(path, text)


def make_data_folder(folder: Path) -> None:
    """Create a folder if it is missing. Raises OSError.

    If root creates it, other accounts may enter it, whatever the umask: the embedded PostgreSQL
    runs as one of them.
    """
    try:
        folder.mkdir(parents=True)
    except FileExistsError:
        return
    if os.geteuid() == 0:
        folder.chmod(folder.stat().st_mode | 0o111)


def write_private(path: Path, text: str) -> None:
    """Write a new file that only its owner can read. Raises FileExistsError and OSError.

    After an error, for example on a full disk, the file is removed.
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
    """Write a new file atomically, as `write_private` does. Raises FileExistsError and OSError."""
    if path.is_symlink() or path.exists():
        # Checked before the draft is written: on a full disk there is no space for a draft.
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
    draft = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    write_private(draft, text)
    try:
        os.link(draft, path)  # unlike rename, it fails if the path exists
    finally:
        draft.unlink()


def open_regular(path: Path) -> BinaryIO:
    """Open a regular file for reading. Raises OSError, also for a folder, a pipe or a device.

    Reading a pipe without a writer never returns, and a device may have no end.
    """
    file = open(path, "rb", opener=_open_nonblocking)  # noqa: SIM115 - the caller closes it
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(errno.EINVAL, "is no regular file")
    return file


def read_regular(path: Path, bytes_max: int) -> bytes:
    """Return the content of a regular file. Raises OSError, also if it is longer."""
    with open_regular(path) as file:
        content = file.read(bytes_max + 1)
    if len(content) > bytes_max:
        raise OSError(errno.EFBIG, "is too long")
    return content


@contextmanager
def exclusive_in(folder: Path) -> Iterator[None]:
    """Exclude other processes from this block for the same folder. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _open_nonblocking(file: str, flags: int) -> int:
    return os.open(file, flags | os.O_NONBLOCK)
