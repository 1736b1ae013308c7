"""A PostgreSQL server for one verification, removed with its folder at the end.

Only here are backed up data on the disk in clear, in a folder that only the server's account can
enter. A killed process leaves the folder and its server. The next verification removes both, and
so does the start of a service with a drill.
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
# A drill has the lowest priority. On a busy host, initdb took more than a minute for a second of
# work. So its limits are an hour for a start, and 20 minutes for a stop. The whole command has 4 h.
_PATIENCE = 60
# Its data need not survive a crash.
_OPTIONS = (
    "fsync=off",
    "synchronous_commit=off",
    "full_page_writes=off",
    "autovacuum=off",
    "max_wal_size=1GB",
)


@contextmanager
def temporary_server(account: str | None) -> Iterator[Target]:
    """Yield the superuser of an empty server. Blocks. Raises EmbeddedError, OSError."""
    remove_leftovers(account)
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    server = EmbeddedServer(folder, account=account, options=_OPTIONS, patience=_PATIENCE)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        # Started by root, the server runs as another account, which must be able to enter.
        folder.chmod(0o711)
        server.start()
        yield server.superuser
    finally:
        try:
            server.stop()
        finally:
            os.close(descriptor)
            shutil.rmtree(folder, ignore_errors=True)


def remove_leftovers(account: str | None) -> None:
    """Remove the folders and servers of killed processes. Blocks."""
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
