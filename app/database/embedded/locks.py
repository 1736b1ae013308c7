"""Two files beside the data folder keep the processes that share a server apart.

A process holds `pg18.lock` while it creates, starts or stops the server. Each process that uses the
server holds `pg18.users` shared until it ends. The kernel releases it even after kill -9, so a
process that gets it exclusively is the last user.
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
    """The locks of one folder, as one process holds them."""

    def __init__(self, home: Path, name: str, *, wait_seconds: float) -> None:
        self._lock_path = home / f"{name}.lock"
        self._users_path = home / f"{name}.users"
        self._wait_seconds = wait_seconds
        self._users: int | None = None

    def join(self) -> None:
        """Count as a user from now on. Waits while the last user stops the server."""
        if self._users is None:
            users = _open(self._users_path)
            _take(users, fcntl.LOCK_SH, self._wait_seconds)
            self._users = users

    def leave(self) -> bool:
        """Stop counting as a user; call it inside `alone`. Returns whether no user is left."""
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
    def alone(self) -> Iterator[None]:
        """Be the only one who makes, starts or stops the server."""
        lock = _open(self._lock_path)
        try:
            _take(lock, fcntl.LOCK_EX, self._wait_seconds)
            yield
        finally:
            os.close(lock)


def _open(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except PermissionError:
        raise EmbeddedError(
            f"{path.parent} belongs to another account. Run as that account, or set DATA_DIR to a "
            "folder of your own."
        ) from None


def _take(descriptor: int, how: int, wait_seconds: float) -> None:
    """Take the lock, polling: flock itself has no time limit."""
    deadline = time.monotonic() + wait_seconds
    while True:
        try:
            fcntl.flock(descriptor, how | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise EmbeddedError(
                    "another process does not finish starting or stopping the embedded PostgreSQL"
                ) from None
            time.sleep(_PAUSE_SECONDS)
        else:
            return
