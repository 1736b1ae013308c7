"""Who stands behind a command, for the history."""

import getpass


def operator() -> str:
    """Return `cli:ACCOUNT`. An id without an account, as containers have, is nobody in particular."""
    try:
        return f"cli:{getpass.getuser()}"
    except (OSError, KeyError):
        return "cli:unknown"
