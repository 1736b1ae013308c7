"""Find the programs of the test, and install Patroni into a folder of the checkout."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.paths import ROOT

_FOLDER = ROOT / ".patroni"
_LOCK = Path(__file__).with_name("requirements.lock")
_INSTALL_SECONDS = 300
# Root's own Python may be in a folder that the account of PostgreSQL cannot enter.
_PYTHONS = ("/usr/bin/python3", sys.executable)


class MissingProgramError(Exception):
    """A program of the test is missing. The message says how to install it."""


def etcd() -> Path:
    path = shutil.which("etcd")
    if path is None:
        raise MissingProgramError("etcd is not installed. On Debian: apt-get install etcd-server")
    return Path(path)


def postgres_folder() -> Path:
    """Return the folder of Debian's newest PostgreSQL, which has pg_basebackup and pg_rewind."""
    folders = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/pg_rewind")]
    if not folders:
        raise MissingProgramError("pg_rewind is missing. On Debian: apt-get install postgresql")
    return max(folders, key=lambda path: float(path.parent.name))


def patroni() -> Path:
    """Return FLAGSTONE_PATRONI, or the pinned Patroni, which is installed at the first call."""
    if chosen := os.environ.get("FLAGSTONE_PATRONI"):
        return Path(chosen)
    program = _FOLDER / "bin/patroni"
    if not program.exists():
        _install()
    return program


def patroni_version() -> str:
    return subprocess.run(
        [str(patroni()), "--version"], check=True, capture_output=True, text=True, timeout=60
    ).stdout.strip()


def _install() -> None:
    python = next(name for name in _PYTHONS if Path(name).exists())
    shutil.rmtree(_FOLDER, ignore_errors=True)
    pip = [f"{_FOLDER}/bin/python", "-m", "pip", "install", "-qq", "--require-hashes"]
    try:
        for command in ([python, "-m", "venv", str(_FOLDER)], [*pip, "-r", str(_LOCK)]):
            subprocess.run(command, check=True, capture_output=True, timeout=_INSTALL_SECONDS)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        shutil.rmtree(_FOLDER, ignore_errors=True)
        raise MissingProgramError(f"Patroni cannot be installed into {_FOLDER.name}") from error
