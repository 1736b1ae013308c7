"""Where the identity is that opens sealed settings: the first place that has one.

A credential of systemd, a file, a command. There is no variable for the identity itself: beside the
values that it opens it would protect nothing.
"""

import os
import shlex
import signal
import stat
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from app.crypto.identity import Identity, IdentityError, parse_identity
from app.settings.parsers import path

CREDENTIAL = "flagstone-identity"
COMMAND_SECONDS = 10.0

_BYTES_MAX = 65_536


def find_identity(environ: Mapping[str, str]) -> Identity:
    """Return the identity of this host. Raises IdentityError, whose text names the variable."""
    folder = environ.get("CREDENTIALS_DIRECTORY", "").strip()
    file = environ.get("IDENTITY_FILE", "").strip()
    command = environ.get("IDENTITY_COMMAND", "").strip()
    if folder and os.access(credential := Path(folder) / CREDENTIAL, os.F_OK):
        # systemd gives the service its right by an access list, whose mask looks like the group's
        # permission; and it has put the file where nobody else can come.
        return _parsed(f"the credential {CREDENTIAL}", _read(credential, private=False))
    if file:
        return _parsed("IDENTITY_FILE", _read_own(file))
    if command:
        return _parsed("IDENTITY_COMMAND", _output(command))
    raise IdentityError("IDENTITY_FILE must be set: this host has no identity")


def _parsed(source: str, content: bytes | None) -> Identity:
    if content is None:
        raise IdentityError(f"{source} must be readable")
    if len(content) > _BYTES_MAX:
        raise IdentityError(f"{source} must not be above {_BYTES_MAX} bytes")
    try:
        return parse_identity(content.decode("ascii", "replace"))
    except IdentityError as error:
        raise IdentityError(f"{source} {error}") from None


def _read_own(file: str) -> bytes | None:
    try:
        return _read(path(file), private=True)
    except ValueError as error:
        raise IdentityError(f"IDENTITY_FILE {error}") from None


def _read(file: Path, *, private: bool) -> bytes | None:
    try:
        with open(file, "rb", opener=_without_waiting) as opened:
            mode = os.fstat(opened.fileno()).st_mode
            if private and mode & 0o077:
                raise IdentityError("IDENTITY_FILE must be closed to group and others: chmod 600")
            return opened.read(_BYTES_MAX + 1) if stat.S_ISREG(mode) else None
    except (OSError, ValueError):
        return None


def _without_waiting(file: str, flags: int) -> int:
    # A pipe that nobody writes to would hold the start up for ever.
    return os.open(file, flags | os.O_NONBLOCK)


def _output(command: str) -> bytes:
    """Run a command without a shell, for at most COMMAND_SECONDS; its errors stay visible."""
    try:
        words = shlex.split(command)
        process = subprocess.Popen(  # noqa: S603 - the operator's own command
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            # A group of its own, so that what it has started ends with it.
            start_new_session=True,
        )
    except (OSError, ValueError, IndexError):
        raise IdentityError("IDENTITY_COMMAND must be a program and its arguments") from None
    try:
        with process:
            try:
                output, _ = process.communicate(timeout=COMMAND_SECONDS)
            except BaseException:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                raise
    except subprocess.TimeoutExpired:
        raise IdentityError(f"IDENTITY_COMMAND must end in {COMMAND_SECONDS:g} s") from None
    if process.returncode:
        raise IdentityError("IDENTITY_COMMAND must end with exit code 0")
    return output
