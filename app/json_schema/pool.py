"""Checker processes: few, started when one is needed, and replaced when a check overruns.

All of it blocks, so the service calls it from threads. A process is used for one request at a time,
and what one request checks has one budget of time, however many schemas it brings.
"""

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import msgspec
import psutil

from app.errors import Unavailable
from app.json_schema.checker import CHECK_FAILED, frame_of
from app.json_schema.checking import Verdict, check
from app.json_schema.linear import linear_steps
from app.log import logger

log = logger(__name__)

PROCESSES_MAX = 2
# What all checks of one request may take. A usual schema takes less than a millisecond.
CPU_SECONDS = 1.0
# Time on the clock, the start of a process included: on a busy machine a process gets a share.
WALL_SECONDS = 4.0
_WAIT_SECONDS = 1.0
_END_SECONDS = 1.0
# A process that has grown above this is replaced, so that one request leaves no memory in use.
_KEPT_BYTES_MAX = 32 * 1024 * 1024
# About 2 ms, within this process.
LINEAR_STEPS_MAX = 100_000
_RETRY_SECONDS = 5


class TooCostlyError(Exception):
    """The request has spent its time, or a check has taken too much memory."""


class Checkers:
    """The checker processes of this process. Safe to use from several threads."""

    def __init__(self, *, cpu_seconds: float = CPU_SECONDS) -> None:
        self._cpu_seconds = cpu_seconds
        self._places = threading.BoundedSemaphore(PROCESSES_MAX)
        self._idle: list[_Process] = []
        self._all: set[_Process] = set()
        self._lock = threading.Lock()
        self._closed = False

    @contextmanager
    def request(self) -> Iterator["RequestCheck"]:
        """Yield what checks all values of one request."""
        request = RequestCheck(self)
        try:
            yield request
        finally:
            request.end()

    def acquire(self) -> "_Process":
        """Return a process with a new budget. Raises Unavailable when all are busy for too long."""
        if not self._places.acquire(timeout=_WAIT_SECONDS):
            raise _busy("Other schemas are being checked.")
        process = None
        try:
            process = self._idle_process() or self._start()
            process.begin(WALL_SECONDS)
        except BaseException:
            if process is not None:
                self._remove(process)
            self._places.release()
            raise
        return process

    def release(self, process: "_Process") -> None:
        """Keep the process for the next request, unless it has failed or grown."""
        if process.is_reusable() and not self._closed:
            self._idle.append(process)
        else:
            self._remove(process)
        self._places.release()

    def close(self) -> None:
        """End every process. A check that is under way raises Unavailable."""
        with self._lock:
            self._closed = True
            processes = list(self._all)
        for process in processes:
            self._remove(process)

    def _idle_process(self) -> "_Process | None":
        while True:
            try:
                process = self._idle.pop()
            except IndexError:
                return None
            if process.is_reusable():
                return process
            self._remove(process)

    def _start(self) -> "_Process":
        with self._lock:
            if self._closed:
                raise _busy("The service is stopping.")
            try:
                process = _Process(self._cpu_seconds)
            except OSError as error:
                log.error("schema_checker_not_started", reason=error.strerror)  # noqa: TRY400
                raise _busy("No process can be started to check the schema.") from None
            self._all.add(process)
        return process

    def _remove(self, process: "_Process") -> None:
        process.kill()
        with self._lock:
            self._all.discard(process)


class RequestCheck:
    """Checks the values of one request against their schemas, within one budget."""

    def __init__(self, checkers: Checkers) -> None:
        self._checkers = checkers
        self._process: _Process | None = None
        self._linear_steps = LINEAR_STEPS_MAX

    def verdict(self, schema: Any, value: Any) -> Verdict:
        """Return what is wrong with the schema or the value.

        Raises TooCostlyError when the budget is spent, and Unavailable.
        """
        steps = linear_steps(schema, value)
        if steps is not None and steps <= self._linear_steps:
            self._linear_steps -= steps
            return check(schema, value)
        if self._process is None:
            self._process = self._checkers.acquire()
        return self._process.ask(schema, value)

    def end(self) -> None:
        if self._process is not None:
            self._checkers.release(self._process)
            self._process = None


class _Process:
    """One checker process, and our end of its socket."""

    def __init__(self, cpu_seconds: float) -> None:
        """Start it. Raises OSError."""
        self._socket, theirs = socket.socketpair()
        with theirs:
            try:
                self._child = subprocess.Popen(  # noqa: S603 - our own module, no user input
                    # Without site: nothing that an environment adds to each start is needed.
                    [sys.executable, "-S", "-P", "-m", "app.json_schema.checker", str(cpu_seconds)],
                    stdin=theirs.fileno(),
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    # Nothing else: the service's environment holds secrets.
                    env={"PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path))},
                    cwd="/",
                    # Ctrl-C in a terminal is for the service, which then ends this.
                    start_new_session=True,
                )
            except BaseException:
                self._socket.close()
                raise
        self._deadline = 0.0
        self._failed = False
        self._killed = False

    def begin(self, wall_seconds: float) -> None:
        """Begin a new budget."""
        self._deadline = time.monotonic() + wall_seconds
        self._exchange(frame_of(b""), answers=False)

    def ask(self, schema: Any, value: Any) -> Verdict:
        """Return its verdict. Raises TooCostlyError and Unavailable, and is of no use then."""
        answer = self._exchange(frame_of(msgspec.json.encode((schema, value))), answers=True)
        return msgspec.json.decode(answer, type=Verdict)

    def is_reusable(self) -> bool:
        """Tell whether it runs, waits for a request and is small."""
        if self._failed or self._child.poll() is not None:
            return False
        try:
            return int(psutil.Process(self._child.pid).memory_info().rss) <= _KEPT_BYTES_MAX
        except psutil.Error:
            return False

    def kill(self) -> None:
        """End it; a thread that waits for its answer then gets Unavailable."""
        self._failed = self._killed = True
        self._child.kill()
        with suppress(subprocess.TimeoutExpired):
            self._child.wait(_END_SECONDS)
        # Shut down first: closing alone would not wake a thread that reads from it.
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
            raise _busy("This machine is too busy to check the schema.") from None
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
        """Return what the end of the process means."""
        if self._killed:
            return _busy("The service is stopping.")
        try:
            code = self._child.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            code = 0
        if code < 0 or code == CHECK_FAILED:
            log.info("schema_too_costly", code=code)
            return TooCostlyError()
        log.error("schema_checker_ended", code=code)
        return _busy("The process that checks schemas has ended.")


def _busy(message: str) -> Unavailable:
    return Unavailable("busy", message, retry_after_seconds=_RETRY_SECONDS)
