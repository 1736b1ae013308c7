"""Reading and writing of the file `.env`."""

import os
from collections.abc import Mapping
from pathlib import Path

from dotenv import dotenv_values, set_key

ENV_FILE = Path(".env")


def environment() -> dict[str, str]:
    """Return the variables of the process, and those of ENV_FILE that it does not set."""
    return read_env_file(ENV_FILE) | os.environ


def read_env_file(path: Path) -> dict[str, str]:
    """Return the variables of a file, none if it does not exist. Raises OSError."""
    # interpolate=False: python-dotenv expands ${…} in a password, even in quotes.
    variables = dotenv_values(path, interpolate=False)
    return {name: value for name, value in variables.items() if value is not None}


def write_env_file(path: Path, values: Mapping[str, str]) -> None:
    """Replace or add a line for each value. Values must not need quotes.

    Each write is atomic, and keeps the file's mode and owner. A new file gets mode 0600. Raises
    OSError.
    """
    for name, value in values.items():
        before = path.stat() if path.exists() else None
        set_key(path, name, value, quote_mode="never", follow_symlinks=True)
        after = path.stat()
        if before and (before.st_uid, before.st_gid) != (after.st_uid, after.st_gid):
            # Root changes a file of the service's account.
            os.chown(path, before.st_uid, before.st_gid)
