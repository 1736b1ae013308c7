"""A pool of checker processes. They are started on demand, and replaced after an expensive check.

All functions block: call them from threads. A process serves one request at a time. All checks of a
request share one time budget.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from app.configuration.json_schema.process import Process, busy
from app.configuration.json_schema.validation import CheckResult, check, count_parts
from app.log import logger

log = logger(__name__)

PROCESSES_MAX = 2
# The budget of all checks of one request. A usual schema takes less than a millisecond.
CPU_SECONDS = 1.0
# Wall time, with the start of a process. On a busy machine a process gets only a share of a core.
WALL_SECONDS = 4.0
WAIT_SECONDS = 1.0
# A check of so many steps takes about 2 ms in this process.
LINEAR_STEPS_MAX = 100_000
_SCHEMA_PARTS_MAX = 1_000
_ANNOTATIONS = {"$comment", "$schema", "default", "deprecated", "description", "examples", "title"}
_ANNOTATIONS |= {"readOnly", "writeOnly"}
_COMPARISONS = {"const", "enum", "exclusiveMaximum", "exclusiveMinimum", "maxItems", "maxLength"}
_COMPARISONS |= {"maxProperties", "maximum", "minItems", "minLength", "minProperties", "minimum"}
_COMPARISONS |= {"required", "type"}


class Checkers:
    """The pool of checker processes. It is thread-safe."""

    def __init__(self, *, cpu_seconds: float = CPU_SECONDS) -> None:
        self._cpu_seconds = cpu_seconds
        self._permits = threading.BoundedSemaphore(PROCESSES_MAX)
        self._idle: list[Process] = []
        self._all: set[Process] = set()
        self._lock = threading.Lock()
        self._closed = False

    @contextmanager
    def request(self) -> Iterator["RequestCheck"]:
        request = RequestCheck(self)
        try:
            yield request
        finally:
            request.end()

    def acquire(self) -> Process:
        """Return a process with a new budget. Raises Unavailable when all are busy for 1 s."""
        if not self._permits.acquire(timeout=WAIT_SECONDS):
            raise busy("All schema checkers are busy.")
        process = None
        try:
            process = self._idle_process() or self._start()
            process.begin(WALL_SECONDS)
        except BaseException:
            if process is not None:
                self._remove(process)
            self._permits.release()
            raise
        return process

    def release(self, process: Process) -> None:
        """Return the process to the pool, or end it if it has failed or grown."""
        if process.is_reusable() and not self._closed:
            self._idle.append(process)
        else:
            self._remove(process)
        self._permits.release()

    def close(self) -> None:
        """End every process. A running check raises Unavailable."""
        with self._lock:
            self._closed = True
            processes = list(self._all)
        for process in processes:
            self._remove(process)

    def _idle_process(self) -> Process | None:
        while True:
            try:
                process = self._idle.pop()
            except IndexError:
                return None
            if process.is_reusable():
                return process
            self._remove(process)

    def _start(self) -> Process:
        with self._lock:
            if self._closed:
                raise busy("The service is stopping.")
            try:
                process = Process(self._cpu_seconds)
            except OSError as error:
                log.error("schema_checker_not_started", reason=error.strerror)  # noqa: TRY400
                raise busy("The schema checker cannot be started.") from None
            self._all.add(process)
        return process

    def _remove(self, process: Process) -> None:
        process.kill()
        with self._lock:
            self._all.discard(process)


class RequestCheck:
    """Checks the values of one request against their schemas, within one budget."""

    def __init__(self, checkers: Checkers) -> None:
        self._checkers = checkers
        self._process: Process | None = None
        self._linear_steps = LINEAR_STEPS_MAX

    def verdict(self, schema: Any, value: Any) -> CheckResult:
        """Check a value. Raises TooCostlyError when the budget is spent, and Unavailable."""
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


def linear_steps(schema: Any, value: Any) -> int | None:
    """Return an upper bound of the steps of a check (20 ns each), or None if it is not linear.

    A check is linear without references, patterns, combinators and formats: each part of the value
    is compared with at most one part of the schema.
    """
    parts = count_parts(schema)
    if parts > _SCHEMA_PARTS_MAX or not _is_linear(schema):
        return None
    # Compiling takes about 100 steps for each part, for any value.
    return parts * (100 + count_parts(value))


def _is_linear(schema: Any) -> bool:
    if not isinstance(schema, dict):
        return isinstance(schema, bool)
    for name, node in schema.items():
        if name == "properties":
            if not (isinstance(node, dict) and all(map(_is_linear, node.values()))):
                return False
        elif name in {"additionalProperties", "items"}:
            if not _is_linear(node):
                return False
        elif name not in _ANNOTATIONS and name not in _COMPARISONS:
            return False
    return True
