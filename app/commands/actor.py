"""Who stands behind a command, for the history."""

import getpass


def operator() -> str:
    """Return `cli:ACCOUNT`; an id without an account, as containers have, is unknown."""
    try:
        return f"cli:{getpass.getuser()}"
    except (OSError, KeyError):
        return "cli:unknown"
