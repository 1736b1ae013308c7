"""A thread whose end can be waited for whatever interrupts the waiting.

`Thread.join` of Python 3.11, interrupted by a signal handler that raises, takes the thread for
ended while it runs. Who believes that leaves, and a thread that is inside age when the interpreter
ends takes the process down by abort().
"""

import threading
from collections.abc import Callable


class Aside:
    """Work that is done beside the caller, once it is begun."""

    def __init__(self, name: str, work: Callable[[], None]) -> None:
        self._work = work
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._is_begun = False

    def begin(self) -> None:
        # First: whoever is interrupted in what follows has to wait for it all the same.
        self._is_begun = True
        self._thread.start()

    @property
    def is_under_way(self) -> bool:
        return self._is_begun and not self._ended.is_set()

    def wait(self, seconds: float) -> bool:
        """Wait for the end, for so long at the most; tell whether it has come."""
        return self._ended.wait(seconds)

    def _run(self) -> None:
        try:
            self._work()
        finally:
            self._ended.set()
