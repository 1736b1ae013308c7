"""A process that outlives pytest and removes the processes and files that a session leaves behind.

All temporary files of a session are in one folder. Each process of the session either has this
folder as TMPDIR or works in it, so the guardian recognises it. The guardian waits on a pipe that
the kernel closes when pytest ends, also after SIGKILL.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from tests.paths import ROOT

_PREFIX = "flagstone-tests-"
# Files in memory: on a disk, copying a data folder takes as long as starting its server.
_MEMORY = Path("/dev/shm")  # noqa: S108 - the folder in it has a random name
_FREE_BYTES_MIN = 4 * 1024**3
# PostgreSQL frees its shared memory on SIGQUIT, not on SIGKILL.
_QUIT_SECONDS = 5.0
_KILL_SECONDS = 30.0
_PAUSE_SECONDS = 0.05


@contextmanager
def guarded_folder(*, in_memory: bool = True) -> Iterator[Path]:
    """Make a temporary folder, which a guardian removes when this process ends."""
    parent = _MEMORY if in_memory and _is_memory_usable() else None
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
    # Servers run as another account, so this folder is as open as /tmp.
    folder.chmod(0o1777)
    guardian = subprocess.Popen(
        [sys.executable, "-m", "tests.guardian", folder],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        start_new_session=True,
    )
    assert guardian.stdin is not None
    os.environ["TMPDIR"] = tempfile.tempdir = str(folder)
    try:
        yield folder
    finally:
        del os.environ["TMPDIR"]
        tempfile.tempdir = None
        guardian.stdin.close()
        guardian.wait(_QUIT_SECONDS + _KILL_SECONDS + 10)


def _is_memory_usable() -> bool:
    """Return whether there is room, and tests may execute files. A container may lack both."""
    if "TMPDIR" in os.environ or not _MEMORY.is_dir():
        return False
    status = os.statvfs(_MEMORY)
    has_room = status.f_bavail * status.f_frsize >= _FREE_BYTES_MIN
    return has_room and not status.f_flag & os.ST_NOEXEC


def remove(folder: Path) -> None:
    """End the processes that belong to the folder, then remove it."""
    started = time.monotonic()
    while processes := _processes_of(folder):
        seconds = time.monotonic() - started
        if seconds > _QUIT_SECONDS + _KILL_SECONDS:
            break
        for process in processes:
            with suppress(psutil.Error):
                is_server = process.name() == "postgres" and seconds < _QUIT_SECONDS
                process.send_signal(signal.SIGQUIT if is_server else signal.SIGKILL)
        time.sleep(_PAUSE_SECONDS)
    shutil.rmtree(folder, ignore_errors=True)


def _processes_of(folder: Path) -> list[psutil.Process]:
    return [
        process
        for process in psutil.process_iter()
        if process.pid != os.getpid() and _belongs_to(process, folder)
    ]


def _belongs_to(process: psutil.Process, folder: Path) -> bool:
    with suppress(psutil.Error):
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        places = (process.environ().get("TMPDIR", ""), process.cwd())
        return any(Path(place).is_relative_to(folder) for place in places)
    return False


def main() -> None:
    # Ctrl-C in a terminal ends pytest first; this process has its own session for that.
    sys.stdin.buffer.read()
    remove(Path(sys.argv[1]))


if __name__ == "__main__":
    main()
