"""The file `.env`, read beside the environment and changed a line at a time."""

import os
from collections.abc import Mapping
from pathlib import Path

from dotenv import dotenv_values, set_key

ENV_FILE = Path(".env")


def environment() -> dict[str, str]:
    """Return the process's variables, and from ENV_FILE what they leave out."""
    return read_env_file(ENV_FILE) | os.environ


def read_env_file(path: Path) -> dict[str, str]:
    """Return the variables of a file, none when there is no file. Raises OSError."""
    # interpolate=False: python-dotenv would expand ${…} inside a password even in quotes.
    found = dotenv_values(path, interpolate=False)
    return {name: value for name, value in found.items() if value is not None}


def write_env_file(path: Path, values: Mapping[str, str]) -> None:
    """Replace or add a line for each value, which needs no quotes; the rest stays as it is.

    Each is written whole or not at all, under the file's mode and owner; a new file gets mode 0600.
    Raises OSError.
    """
    for name, value in values.items():
        before = path.stat() if path.exists() else None
        set_key(path, name, value, quote_mode="never", follow_symlinks=True)
        after = path.stat()
        if before and (before.st_uid, before.st_gid) != (after.st_uid, after.st_gid):
            # As after root's change to a file of the service's account.
            os.chown(path, before.st_uid, before.st_gid)
