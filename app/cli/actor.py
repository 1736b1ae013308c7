"""Who stands behind a command, for the history and the access log."""

import os
import pwd

from app.access.events import Origin


def operator() -> str:
    """Return `operator:ACCOUNT`; an id without an account, as containers have, is unknown.

    By the process's user id. The variables USER and LOGNAME say what whoever types them wants.
    """
    try:
        return f"operator:{pwd.getpwuid(os.getuid()).pw_name}"
    except KeyError:
        return "operator:unknown"


def origin() -> Origin:
    """Return the same for the access log."""
    return Origin(actor=operator())
