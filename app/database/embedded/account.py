"""Choose the account that runs the server. PostgreSQL refuses root, so root picks another one."""

import os
import pwd
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.errors import ForeseenError


class EmbeddedError(ForeseenError):
    """The embedded PostgreSQL cannot run. The message says why and what to do."""


@dataclass(frozen=True)
class Account:
    """An account of the operating system."""

    name: str
    uid: int
    gid: int

    @property
    def is_current(self) -> bool:
        return self.uid == os.geteuid()

    def subprocess_arguments(self) -> dict[str, Any]:
        """Return the arguments with which `subprocess` runs a program as this account."""
        if self.is_current:
            return {}
        return {"user": self.uid, "group": self.gid, "extra_groups": []}

    def take_ownership(self, path: Path) -> None:
        if not self.is_current:
            os.chown(path, self.uid, self.gid)


def choose_account(folder: Path, name: str | None) -> Account:
    """Return the account that owns the data and runs the server.

    `name` is EMBEDDED_ACCOUNT, which counts only when this process runs as root.
    """
    if os.geteuid() != 0:
        return _account(os.geteuid())
    if name is not None:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            raise EmbeddedError(f"EMBEDDED_ACCOUNT: no such account: {name}") from None
        if entry.pw_uid == 0:
            raise EmbeddedError("EMBEDDED_ACCOUNT: PostgreSQL does not run as root; name another")
        return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)
    return _default_account(folder)


def _default_account(folder: Path) -> Account:
    """Return the owner of the folder, or else the account `postgres` or `nobody`."""
    owner = folder.stat().st_uid if folder.exists() else 0
    if owner != 0:
        return _account(owner)
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)
    raise EmbeddedError(
        "The service runs as root, and the embedded PostgreSQL needs another account: neither "
        "postgres nor nobody exists. Set EMBEDDED_ACCOUNT to an account, or DATABASE_URL to your "
        "own server."
    )


def _account(uid: int) -> Account:
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        raise EmbeddedError(
            f"User id {uid} has no entry in the account database, which initdb needs. Run "
            "the service as an account with an entry, or set DATABASE_URL to your own server."
        ) from None
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)


def check_reach(account: Account, folder: Path, program: Path) -> None:
    """Raise EmbeddedError if the account cannot enter the folder or run the program.

    Changes no permissions: only the operator may loosen those of the parent folders.
    """
    if account.is_current:
        return
    for path, command in ((folder, 'cd "$1"'), (program, '"$1" --version')):
        outcome = subprocess.run(  # noqa: S603 - we chose both paths
            ["/bin/sh", "-c", command, "sh", str(path)],
            capture_output=True,
            check=False,
            cwd="/",
            timeout=10,
            **account.subprocess_arguments(),
        )
        if outcome.returncode != 0:
            raise EmbeddedError(
                "The service runs as root, so the embedded PostgreSQL runs as the account "
                f"{account.name}, which cannot access {path}. Either run as an ordinary user, or "
                "move the checkout and DATA_DIR to folders that this account can enter, or set "
                "DATABASE_URL to your own server."
            )
