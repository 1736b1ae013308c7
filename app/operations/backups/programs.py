"""pg_dump and pg_restore: those of the embedded PostgreSQL, or what the machine has.

A pg_dump reads servers of its own release and older ones, and a pg_restore files of its own and
older ones. The wheel's are of 18 and so fit all that Flagstone runs on; where there is no wheel, or
a server is newer, those on PATH are looked at.
"""

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from app.database.embedded import EmbeddedError
from app.database.embedded.cluster import programs as embedded_programs
from app.operations.backups.errors import BackupError
from app.settings import Secret

_VERSION = re.compile(r"\(PostgreSQL\) (\d+)")
_SECONDS = 10


@dataclass(frozen=True, kw_only=True)
class Program:
    path: Path
    major: int


def find(name: str, least: int) -> Program:
    """Return a program of at least this major release. Raises BackupError when there is none."""
    found = [program for path in _places(name) if (program := _look(path)) is not None]
    fit = next((program for program in found if program.major >= least), None)
    if fit is None:
        have = ", ".join(str(program.major) for program in found) or "none"
        raise BackupError(
            f"{name}: PostgreSQL {least} needs one of {least} or newer, and there is {have}. "
            f"Install the client programs of PostgreSQL {least} and have them on PATH"
        )
    return fit


def _places(name: str) -> Iterator[Path]:
    try:
        embedded = embedded_programs() / name
    except EmbeddedError:
        pass
    else:
        yield embedded
    on_path = shutil.which(name)
    if on_path is not None:
        yield Path(on_path)


def _look(path: Path) -> Program | None:
    try:
        said = subprocess.run(  # noqa: S603 - a program of PostgreSQL, by its full path
            [path, "--version"],
            capture_output=True,
            check=True,
            env=environment(),
            text=True,
            timeout=_SECONDS,
        ).stdout
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return None
    version = _VERSION.search(said)
    return Program(path=path, major=int(version[1])) if version else None


def environment() -> dict[str, str]:
    """Return what the programs get: none of the PG… variables, which would change what they do."""
    return {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LC_ALL": "C", "TZ": "UTC"}


@contextmanager
def password_file(password: Secret | None) -> Iterator[tuple[int, ...]]:
    """Yield the descriptors to hand on, of which the first is libpq's password file, if any.

    The file has no name, so nobody else can open it, and however this process ends none is left.
    """
    if password is None:
        yield ()
        return
    escaped = password.reveal().replace("\\", "\\\\").replace(":", "\\:")
    with tempfile.TemporaryFile() as file:
        # libpq refuses one that others may read.
        os.fchmod(file.fileno(), 0o600)
        file.write(f"*:*:*:*:{escaped}\n".encode())
        file.flush()
        yield (file.fileno(),)
