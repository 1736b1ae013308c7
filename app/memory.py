"""Memory that large requests leave behind: the collector of cyclic garbage, and the allocator.

A full collection walks through every object that is not frozen, and nothing else runs meanwhile:
half a second for ten thousand flags. It finds nothing in them, since data refers in no circle. So
the automatic collections are of young objects alone. A full one runs each minute, as soon as no
request holds large data, and freezes what it finds alive when that is much.

glibc keeps what was freed for the next request, which may never need as much. So large pieces are
mapped by themselves, and the rest is given back after a large request and each minute.
"""

import asyncio
import ctypes
import gc
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

Result = TypeVar("Result")

_PAUSE_SECONDS = 60
# A full collection of as many takes about 5 ms.
FEW_OBJECTS = 100_000
# Then a full collection runs although a request holds large data, since garbage may be much too.
_POSTPONED_SECONDS_MAX = 600
_NEVER = 2**31 - 1
# Of glibc's malloc.h. The threshold would grow with each large piece that is freed.
_M_MMAP_THRESHOLD = -3
_MMAP_BYTES = 128 * 1024

_has_leftovers = False
# Requests that hold large data now.
_large_requests = 0


def start() -> None:
    """Freeze what has been loaded, and end the automatic full collections."""
    gc.collect()
    gc.freeze()
    young, middle, _ = gc.get_threshold()
    gc.set_threshold(young, middle, _NEVER)
    if _malloc is not None:
        _malloc.mallopt(_M_MMAP_THRESHOLD, _MMAP_BYTES)


async def run() -> None:
    """Collect each minute, and give memory back then and after each large request."""
    global _has_leftovers  # noqa: PLW0603 - the allocator is the process's
    start()
    seconds = 0
    while True:
        await asyncio.sleep(1)
        seconds += 1
        if seconds >= _PAUSE_SECONDS and collect(in_any_case=seconds >= _POSTPONED_SECONDS_MAX):
            seconds = 0
            _has_leftovers = True
        if _has_leftovers and _malloc is not None:
            _has_leftovers = False
            # A foreign call, which leaves the interpreter to others.
            await asyncio.to_thread(_malloc.malloc_trim, 0)


@contextmanager
def large_data() -> Iterator[None]:
    """Say that a request holds large data until the end of the block."""
    global _has_leftovers, _large_requests  # noqa: PLW0603 - the allocator is the process's
    _large_requests += 1
    try:
        yield
    finally:
        _large_requests -= 1
        _has_leftovers = True


def collect(*, in_any_case: bool = False) -> bool:
    """Collect all garbage, or that of young objects alone while a request holds large data.

    Return whether it was all.
    """
    if _large_requests and not in_any_case:
        gc.collect(1)
        return False
    gc.collect()
    if len(gc.get_objects(generation=2)) > FEW_OBJECTS:
        # What is alive now is used for long. The next collection need not walk through it.
        gc.freeze()
    return True


def frozen(make: Callable[[], Result]) -> Result:
    """Return what is made, frozen: no collection walks through it. For a thread.

    Everything else that is alive is frozen too, and so is old garbage while a request holds large
    data.
    """
    collect()
    gc.disable()
    try:
        made = make()
        gc.freeze()
    finally:
        gc.enable()
    return made


def _glibc() -> ctypes.CDLL | None:
    """Return the C library, None where it is not glibc."""
    if sys.platform != "linux":
        return None
    library = ctypes.CDLL(None)
    return library if hasattr(library, "gnu_get_libc_version") else None


_malloc = _glibc()
