"""Measure the work of code so that a test holds on a machine of any speed."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

_ROUNDS = 3


@dataclass
class CallCount:
    """The number of calls of functions, those written in C among them."""

    calls: int = 0


@contextmanager
def counted_calls() -> Iterator[CallCount]:
    """Count the calls of this thread in the block. Coverage does not change the number."""
    count = CallCount()

    def add(_: FrameType, event: str, __: object) -> None:
        count.calls += event in {"call", "c_call"}

    sys.setprofile(add)
    try:
        yield count
    finally:
        sys.setprofile(None)


def processor_seconds(work: Callable[[], object]) -> float:
    """Return the processor time of the fastest of three rounds.

    Compare it with that of other work in the same test. Compared with a number, it would fail on a
    slow machine.
    """
    fastest = float("inf")
    for _ in range(_ROUNDS):
        started = time.thread_time()
        work()
        fastest = min(fastest, time.thread_time() - started)
    return fastest
