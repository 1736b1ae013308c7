"""Find pg_dump and pg_restore: the embedded PostgreSQL's, or those on PATH.

pg_dump reads servers of its own major version and older ones, and pg_restore files of its own and
older ones. The embedded programs are built without TLS, so a server over TLS needs those on PATH.
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
from app.settings import Secret, TlsMode

_VERSION = re.compile(r"\(PostgreSQL\) (\d+)")
_SECONDS = 10


@dataclass(frozen=True, kw_only=True)
class Program:
    path: Path
    major: int


def find(name: str, major: int, tls: TlsMode = TlsMode.DISABLE) -> Program:
    """Return a program of at least this major version that can use this TLS mode.

    Raises BackupError when there is none.
    """
    programs = [program for path in _paths(name, tls) if (program := _program(path)) is not None]
    program = next((program for program in programs if program.major >= major), None)
    if program is None:
        versions = ", ".join(str(program.major) for program in programs) or "none"
        over_tls = " with TLS" if _requires_tls(tls) else ""
        raise BackupError(
            f"{name}: a backup of PostgreSQL {major}{over_tls} needs {name} {major} or newer on "
            f"PATH. Versions found: {versions}. Install the client programs of PostgreSQL {major}, "
            f"on Debian the package postgresql-client-{major}"
        )
    return program


def _paths(name: str, tls: TlsMode) -> list[Path]:
    path = shutil.which(name)
    system = [Path(path)] if path is not None else []
    if _requires_tls(tls):
        return system
    try:
        embedded = [embedded_programs() / name]
    except EmbeddedError:
        embedded = []
    # With `prefer` the embedded program connects without TLS, which the server may refuse.
    return system + embedded if tls is TlsMode.PREFER else embedded + system


def _requires_tls(tls: TlsMode) -> bool:
    return tls not in {TlsMode.DISABLE, TlsMode.PREFER}


def _program(path: Path) -> Program | None:
    try:
        text = subprocess.run(  # noqa: S603 - a program of PostgreSQL, by its full path
            [path, "--version"],
            capture_output=True,
            check=True,
            env=environment(),
            text=True,
            timeout=_SECONDS,
        ).stdout
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return None
    version = _VERSION.search(text)
    return Program(path=path, major=int(version[1])) if version else None


def environment() -> dict[str, str]:
    """Return the environment of the programs, without PG… variables, which would configure them."""
    return {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LC_ALL": "C", "TZ": "UTC"}


@contextmanager
def password_file(password: Secret | None) -> Iterator[tuple[int, ...]]:
    """Yield the descriptors to inherit: libpq's password file, or none without a password.

    The file has no name, so no other process can open it, and it disappears with this process.
    """
    if password is None:
        yield ()
        return
    escaped = password.reveal().replace("\\", "\\\\").replace(":", "\\:")
    with tempfile.TemporaryFile() as file:
        # libpq refuses a file that others may read.
        os.fchmod(file.fileno(), 0o600)
        file.write(f"*:*:*:*:{escaped}\n".encode())
        file.flush()
        yield (file.fileno(),)
