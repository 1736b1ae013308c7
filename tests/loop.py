"""Measure whether work yields to other tasks on the event loop, on a machine of any speed."""

import asyncio
import gc
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

from tests.work import counted_calls

_ATTEMPTS = 4


async def longest_share(work: Callable[[], Awaitable[object]], limit: float) -> float:
    """Return the longest iteration's share of the processor time while the work runs.

    A busy machine lengthens single iterations. Work that holds the loop does so each time. So the
    work is measured again, a few times, until its share is below the limit.
    """
    share = 1.0
    for _ in range(_ATTEMPTS):
        share = min(share, await _measured_share(work))
        if share < limit:
            break
    return share


async def _measured_share(work: Callable[[], Awaitable[object]]) -> float:
    longest = 0.0

    async def watch() -> None:
        nonlocal longest
        while True:
            before = time.thread_time()
            await asyncio.sleep(0.001)  # Sleeping for 0 s would count as work.
            longest = max(longest, time.thread_time() - before)

    # A collection of what earlier tests left takes longer than an iteration, so freeze it. The
    # service does the same when it starts.
    gc.collect()
    gc.freeze()
    started = time.process_time()
    watching = asyncio.create_task(watch())
    try:
        await work()
        seconds = time.process_time() - started
    finally:
        await _stop(watching)
    return longest / seconds


async def most_calls(work: Callable[[], Awaitable[object]]) -> int:
    """Return the most function calls that one iteration of the loop makes while the work runs.

    The work runs twice: the first time fills caches.
    """
    await work()
    most = 0

    async def watch() -> None:
        nonlocal most
        while True:
            count.calls = 0
            await asyncio.sleep(0)
            most = max(most, count.calls)

    with counted_calls() as count:
        watching = asyncio.create_task(watch())
        try:
            await work()
        finally:
            await _stop(watching)
    return most


async def _stop(watching: "asyncio.Task[None]") -> None:
    watching.cancel()
    with suppress(asyncio.CancelledError):
        await watching
