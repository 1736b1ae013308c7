"""A server for one verification: in a folder of its own, and gone with it on every path.

It is the one place where what was backed up lies in clear, in a folder that its server's account
alone can enter. Whoever is killed leaves it behind, server and all; the next one puts that away.
"""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from app.database.embedded import EmbeddedError, EmbeddedServer
from app.settings import Target

_PREFIX = "flagstone-verify-"
# Nothing in it has to outlive a crash, and nobody else is there whom it could get in the way of.
_OPTIONS = (
    "fsync=off",
    "synchronous_commit=off",
    "full_page_writes=off",
    "autovacuum=off",
    "max_wal_size=1GB",
)


@contextmanager
def scratch_server(account: str | None) -> Iterator[Target]:
    """Yield the superuser's way into an empty server. Blocks. Raises EmbeddedError, OSError."""
    _clean(account)
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    server = EmbeddedServer(folder, account=account, options=_OPTIONS)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        # Started as root the server runs as another account, which has to pass, and no more.
        folder.chmod(0o711)
        server.start()
        yield server.superuser
    finally:
        try:
            server.stop()
        finally:
            os.close(descriptor)
            shutil.rmtree(folder, ignore_errors=True)


def _clean(account: str | None) -> None:
    """Put away what a process has left that is gone."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with suppress(OSError, EmbeddedError):
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                if os.fstat(descriptor).st_uid != os.geteuid():
                    continue
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                EmbeddedServer(folder, account=account).stop()
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(descriptor)
