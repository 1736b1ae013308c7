"""The operator behind a command, for the history and the access log."""

import os
import pwd

from app.access.events import Origin


def operator() -> str:
    """Return `operator:ACCOUNT`, or `operator:unknown` for a user ID without an account.

    The account is that of the user ID: anyone can change the variables USER and LOGNAME.
    """
    try:
        return f"operator:{pwd.getpwuid(os.getuid()).pw_name}"
    except KeyError:
        return "operator:unknown"


def origin() -> Origin:
    """Return the operator as the origin of an access."""
    return Origin(actor=operator())
