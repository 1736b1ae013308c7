"""Who runs the server. PostgreSQL refuses root, so root hands it to an account without rights."""

import os
import pwd
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.errors import ForeseenError


class EmbeddedError(ForeseenError):
    """The embedded PostgreSQL cannot run here; the text says why and what to do."""


@dataclass(frozen=True)
class Account:
    name: str
    uid: int
    gid: int

    @property
    def is_me(self) -> bool:
        return self.uid == os.geteuid()

    def subprocess_arguments(self) -> dict[str, Any]:
        """Return what makes `subprocess` run a program as this account."""
        if self.is_me:
            return {}
        return {"user": self.uid, "group": self.gid, "extra_groups": []}

    def own(self, path: Path) -> None:
        if not self.is_me:
            os.chown(path, self.uid, self.gid)


def choose_account(folder: Path, wanted: str | None) -> Account:
    """Return the account that is to own the data in the folder and to run the server."""
    if os.geteuid() != 0:
        return _account(os.geteuid(), str(os.geteuid()))
    if wanted is not None:
        try:
            entry = pwd.getpwnam(wanted)
        except KeyError:
            raise EmbeddedError("EMBEDDED_ACCOUNT: there is no such account") from None
        if entry.pw_uid == 0:
            raise EmbeddedError("EMBEDDED_ACCOUNT: PostgreSQL does not run as root")
        return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)
    return next(_candidates(folder))


def _candidates(folder: Path) -> Iterator[Account]:
    owner = folder.stat().st_uid if folder.exists() else 0
    if owner != 0:
        yield _account(owner, str(owner))
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        yield Account(entry.pw_name, entry.pw_uid, entry.pw_gid)
    raise EmbeddedError(
        "Started as root, and there is no account named postgres or nobody to run the embedded "
        "PostgreSQL. Name one with EMBEDDED_ACCOUNT, or set DATABASE_URL to a server of your own."
    )


def _account(uid: int, fallback: str) -> Account:
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        raise EmbeddedError(
            f"User id {fallback} has no entry in the account database, which initdb needs. Run as "
            "an account that has one, or set DATABASE_URL to a server of your own."
        ) from None
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)


def check_reach(account: Account, folder: Path, program: Path) -> None:
    """Make sure that the account gets into the folder and can run the program.

    This changes no permission: opening the folders above is the operator's decision.
    Raises EmbeddedError with the two ways out.
    """
    if account.is_me:
        return
    for path, test in ((folder, 'cd "$1"'), (program, '"$1" --version')):
        outcome = subprocess.run(  # noqa: S603 - both paths are ours
            ["/bin/sh", "-c", test, "sh", str(path)],
            capture_output=True,
            check=False,
            cwd="/",
            timeout=10,
            **account.subprocess_arguments(),
        )
        if outcome.returncode != 0:
            raise EmbeddedError(
                f"Started as root, so the embedded PostgreSQL runs as the account {account.name}, "
                f"which cannot reach {path}. Either run as an ordinary user (or move the checkout "
                "and DATA_DIR to where that account can enter), or set DATABASE_URL to a server of "
                "your own."
            )
