"""One checker process and its socket. All functions block."""

import socket
import subprocess
import sys
import time
from contextlib import suppress
from typing import Any

import msgspec
import psutil

from app.configuration.json_schema.checker import CHECK_FAILED, frame_of
from app.configuration.json_schema.validation import CheckResult
from app.errors import Unavailable
from app.log import logger
from app.program import python_path

log = logger(__name__)

_END_SECONDS = 1.0
# A larger process is replaced after its request, to free the memory.
IDLE_BYTES_MAX = 32 * 1024 * 1024
_RETRY_SECONDS = 5


class TooCostlyError(Exception):
    """The checks of a request took too much time or memory."""


class Process:
    """A checker process, used by one request at a time."""

    def __init__(self, cpu_seconds: float) -> None:
        """Start the process. Raises OSError."""
        self._socket, theirs = socket.socketpair()
        with theirs:
            try:
                self._child = subprocess.Popen(  # noqa: S603 - our own module, no user input
                    # Without site, to start faster.
                    [
                        sys.executable,
                        "-S",
                        "-P",
                        "-m",
                        "app.configuration.json_schema.checker",
                        str(cpu_seconds),
                    ],
                    stdin=theirs.fileno(),
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    # No other variable: the environment of the service has secrets.
                    env={"PYTHONPATH": python_path()},
                    cwd="/",
                    # Ctrl-C in a terminal must only reach the service, which ends this process.
                    start_new_session=True,
                )
            except BaseException:
                self._socket.close()
                raise
        self._deadline = 0.0
        self._failed = False
        self._killed = False

    @property
    def pid(self) -> int:
        return self._child.pid

    def begin(self, wall_seconds: float) -> None:
        self._deadline = time.monotonic() + wall_seconds
        self._exchange(frame_of(b""), answers=False)

    def ask(self, schema: Any, value: Any) -> CheckResult:
        """Check a value. After TooCostlyError or Unavailable, the process cannot be used again."""
        answer = self._exchange(frame_of(msgspec.json.encode((schema, value))), answers=True)
        return msgspec.json.decode(answer, type=CheckResult)

    def is_reusable(self) -> bool:
        """Return whether the process is running, idle and small."""
        if self._failed or self._child.poll() is not None:
            return False
        try:
            return int(psutil.Process(self.pid).memory_info().rss) <= IDLE_BYTES_MAX
        except psutil.Error:
            return False

    def kill(self) -> None:
        """End the process. A thread that waits for its answer gets Unavailable."""
        self._failed = self._killed = True
        self._child.kill()
        with suppress(subprocess.TimeoutExpired):
            self._child.wait(_END_SECONDS)
        # Shut down first: close alone does not wake a thread that is reading.
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _exchange(self, frame: bytes, *, answers: bool) -> bytes:
        try:
            self._wait_until_deadline()
            self._socket.sendall(frame)
            return self._receive(int.from_bytes(self._receive(4))) if answers else b""
        except TimeoutError:
            self._failed = True
            raise busy("This machine is too busy to check the schema.") from None
        except OSError:
            self._failed = True
            raise self._ended() from None

    def _receive(self, count: int) -> bytes:
        content = b""
        while len(content) < count:
            self._wait_until_deadline()
            chunk = self._socket.recv(count - len(content))
            if not chunk:
                raise ConnectionResetError
            content += chunk
        return content

    def _wait_until_deadline(self) -> None:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._socket.settimeout(left)

    def _ended(self) -> Exception:
        """Return the error that the exit status of the process means."""
        if self._killed:
            return busy("The service is stopping.")
        try:
            code = self._child.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            code = 0
        if code < 0 or code == CHECK_FAILED:
            log.info("schema_too_costly", code=code)
            return TooCostlyError()
        log.error("schema_checker_ended", code=code)
        return busy("The schema checker ended unexpectedly.")


def busy(message: str) -> Unavailable:
    """Return the error for a check that the client should retry."""
    return Unavailable("busy", message, retry_after_seconds=_RETRY_SECONDS)
