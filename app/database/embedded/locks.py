"""Coordinate the processes that share a server, with locks on two files beside its data folder.

A process locks `pg18.lock` while it creates, starts or stops the server. Each process that uses the
server holds a shared lock on `pg18.users` until it ends. The kernel releases it even after kill -9,
so a process that gets an exclusive lock is the last user.
"""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from app.database.embedded.account import EmbeddedError

_PAUSE_SECONDS = 0.05


class FolderLocks:
    """The two locks of one folder, for one process."""

    def __init__(self, home: Path, name: str, *, wait_seconds: float) -> None:
        self._lock_path = home / f"{name}.lock"
        self._users_path = home / f"{name}.users"
        self._wait_seconds = wait_seconds
        self._users: int | None = None

    def join(self) -> None:
        """Register as a user. Waits while the last user stops the server."""
        if self._users is None:
            users = _open(self._users_path)
            _acquire(users, fcntl.LOCK_SH, self._wait_seconds)
            self._users = users

    def leave(self) -> bool:
        """Unregister, and return whether this was the last user. Call it inside `exclusive`."""
        users, self._users = self._users, None
        if users is None:
            return False
        try:
            fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        else:
            return True
        finally:
            os.close(users)

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Prevent other processes from creating, starting or stopping the server."""
        lock = _open(self._lock_path)
        try:
            _acquire(lock, fcntl.LOCK_EX, self._wait_seconds)
            yield
        finally:
            os.close(lock)


def _open(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except PermissionError:
        raise EmbeddedError(
            f"{path.parent} belongs to another account. Run as that account, or set DATA_DIR to "
            "another folder."
        ) from None


def _acquire(descriptor: int, mode: int, wait_seconds: float) -> None:
    """Acquire the lock by polling, because flock has no timeout."""
    deadline = time.monotonic() + wait_seconds
    while True:
        try:
            fcntl.flock(descriptor, mode | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise EmbeddedError(
                    "another process has been starting or stopping the embedded PostgreSQL for "
                    f"more than {wait_seconds:.0f} s. End that process, or try again later"
                ) from None
            time.sleep(_PAUSE_SECONDS)
        else:
            return
