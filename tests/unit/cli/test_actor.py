"""The operator behind a command."""

import os
import pwd

import pytest

from app.cli.actor import operator


def test_actor_name_cannot_be_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The access log would name another account."""
    for variable in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.setenv(variable, "somebody-else")

    assert operator() == f"operator:{pwd.getpwuid(os.getuid()).pw_name}"
