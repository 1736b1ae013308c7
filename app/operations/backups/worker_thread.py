"""A thread with a reliable wait for its end.

In Python 3.11 `Thread.join` takes a running thread for ended when a signal handler raises. The
interpreter would then exit while the thread runs age, and the process would abort.
"""

import threading
from collections.abc import Callable


class WorkerThread:
    """Runs a function in a daemon thread."""

    def __init__(self, name: str, work: Callable[[], None]) -> None:
        self._work = work
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._is_started = False

    def start(self) -> None:
        # Before the start: an interruption in between must still wait for the thread.
        self._is_started = True
        self._thread.start()

    @property
    def is_running(self) -> bool:
        return self._is_started and not self._ended.is_set()

    def wait(self, seconds: float) -> bool:
        """Wait for the end, at most this long; return whether it has ended."""
        return self._ended.wait(seconds)

    def _run(self) -> None:
        try:
            self._work()
        finally:
            self._ended.set()
