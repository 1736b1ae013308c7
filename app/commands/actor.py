"""Who stands behind a command, for the history."""

import getpass


def operator() -> str:
    """Return `operator:ACCOUNT`; an id without an account, as containers have, is unknown."""
    try:
        return f"operator:{getpass.getuser()}"
    except (OSError, KeyError):
        return "operator:unknown"
