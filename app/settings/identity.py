"""The identity that opens sealed settings, from a systemd credential, a file or a command.

No variable can contain the identity itself: next to the values that it opens, it would protect
nothing.
"""

import os
import selectors
import shlex
import signal
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from app.crypto.identity import Identity, IdentityError, parse_identity
from app.private_files import open_regular
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
        # systemd grants access by an ACL, whose mask looks like a group permission. The folder is
        # closed to other users.
        return _parsed(f"the credential {CREDENTIAL}", _read(credential, private=False))
    if file:
        return _parsed("IDENTITY_FILE", _read_own(file))
    if command:
        return _parsed("IDENTITY_COMMAND", _run(command))
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
        with open_regular(file) as opened:
            if private and os.fstat(opened.fileno()).st_mode & 0o077:
                raise IdentityError("IDENTITY_FILE must be private: chmod 600")
            return opened.read(_BYTES_MAX + 1)
    except (OSError, ValueError):
        return None


def _run(command: str) -> bytes:
    """Run a command without a shell for at most COMMAND_SECONDS. Its standard error is visible."""
    try:
        words = shlex.split(command)
        process = subprocess.Popen(  # noqa: S603 - the operator's own command
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            # Its own process group, so that its children can be killed with it.
            start_new_session=True,
        )
    except (OSError, ValueError, IndexError):
        raise IdentityError("IDENTITY_COMMAND must be a program and its arguments") from None
    try:
        with process:
            try:
                ends_at = time.monotonic() + COMMAND_SECONDS
                output = _output_of(process, ends_at)
                process.wait(max(0, ends_at - time.monotonic()))
            except BaseException:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                raise
    except (TimeoutError, subprocess.TimeoutExpired):
        raise IdentityError(f"IDENTITY_COMMAND must end in {COMMAND_SECONDS:g} s") from None
    if process.returncode:
        raise IdentityError("IDENTITY_COMMAND must end with exit code 0")
    return output


def _output_of(process: subprocess.Popen[bytes], ends_at: float) -> bytes:
    """Read the output. Raises TimeoutError, and IdentityError above 65,536 bytes."""
    assert process.stdout is not None  # noqa: S101 - stdout=PIPE
    output = b""
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while len(output) <= _BYTES_MAX:
            if not selector.select(max(0, ends_at - time.monotonic())):
                raise TimeoutError
            part = os.read(process.stdout.fileno(), _BYTES_MAX)
            if not part:
                return output
            output += part
    raise IdentityError(f"IDENTITY_COMMAND must not be above {_BYTES_MAX} bytes")
