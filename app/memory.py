"""Memory after large requests: the garbage collector of Python, and the allocator of glibc.

A full collection visits every object that is not frozen, and blocks all else: 0.5 s for 10,000
flags. It finds nothing there, since this data has no cycles. So only young objects are collected
automatically. A full collection runs once a minute, as soon as no request has large data. It
freezes the live objects if there are many.

glibc retains freed memory for the next request, which may never need as much. So large blocks are
mapped one by one, and the rest is returned after each large request and once a minute.
"""

import asyncio
import ctypes
import gc
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

Result = TypeVar("Result")

PAUSE_SECONDS = 60
# Visiting this many objects takes about 5 ms.
FEW_OBJECTS = 100_000
# After this time a full collection runs even if a request has large data.
_POSTPONED_SECONDS_MAX = 600
_NEVER = 2**31 - 1
# From the malloc.h of glibc. Without it the threshold grows with each large block that is freed.
_M_MMAP_THRESHOLD = -3
_MMAP_BYTES = 128 * 1024

_has_leftovers = False
# The number of requests that have large data now.
_large_requests = 0


def start() -> None:
    """Freeze all live objects, and switch off automatic full collections."""
    gc.collect()
    gc.freeze()
    young, middle, _ = gc.get_threshold()
    gc.set_threshold(young, middle, _NEVER)
    if _malloc is not None:
        _malloc.mallopt(_M_MMAP_THRESHOLD, _MMAP_BYTES)


async def run() -> None:
    """Collect once a minute. Return free memory then and after each large request."""
    global _has_leftovers  # noqa: PLW0603 - the allocator is the process's
    start()
    seconds = 0
    while True:
        await asyncio.sleep(1)
        seconds += 1
        if seconds >= PAUSE_SECONDS and collect(force=seconds >= _POSTPONED_SECONDS_MAX):
            seconds = 0
            _has_leftovers = True
        if _has_leftovers and _malloc is not None:
            _has_leftovers = False
            # A foreign call, during which other threads can run Python.
            await asyncio.to_thread(_malloc.malloc_trim, 0)


@contextmanager
def large_data() -> Iterator[None]:
    """Count a request that has large data until the end of the block."""
    global _has_leftovers, _large_requests  # noqa: PLW0603 - the allocator is the process's
    _large_requests += 1
    try:
        yield
    finally:
        _large_requests -= 1
        _has_leftovers = True


def collect(*, force: bool = False) -> bool:
    """Collect all garbage, and return True; only young objects while a request has large data."""
    if _large_requests and not force:
        gc.collect(1)
        return False
    gc.collect()
    if len(gc.get_objects(generation=2)) > FEW_OBJECTS:
        # Objects that survived are long-lived. The next collection need not visit them.
        gc.freeze()
    return True


def frozen(make: Callable[[], Result]) -> Result:
    """Call `make` and freeze its result, so that no collection visits it. Use it in a thread.

    All other live objects are frozen too. While a request has large data, so is old garbage.
    """
    collect()
    gc.disable()
    try:
        result = make()
        gc.freeze()
    finally:
        gc.enable()
    return result


def _glibc() -> ctypes.CDLL | None:
    """Return the C library, None where it is not glibc."""
    if sys.platform != "linux":
        return None
    library = ctypes.CDLL(None)
    return library if hasattr(library, "gnu_get_libc_version") else None


_malloc = _glibc()
