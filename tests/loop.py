"""Measure whether work yields to other tasks on the event loop, on a machine of any speed."""

import asyncio
import gc
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from types import FrameType

_ATTEMPTS = 4


@dataclass
class LoopTurns:
    """Processor time of the loop's iterations, which does not depend on the load of the machine."""

    longest_seconds: float = 0.0
    process_seconds: float = 0.0

    @property
    def longest_share(self) -> float:
        """Return the longest iteration's share of the processor time of the process."""
        return self.longest_seconds / self.process_seconds


@asynccontextmanager
async def watched_loop() -> AsyncIterator[LoopTurns]:
    """Measure the iterations of the loop while the block runs."""
    turns = LoopTurns()

    async def watch() -> None:
        while True:
            before = time.thread_time()
            await asyncio.sleep(0.001)  # Sleeping for 0 s would count as work.
            turns.longest_seconds = max(turns.longest_seconds, time.thread_time() - before)

    # A collection of what earlier tests left takes longer than an iteration, so freeze it. The
    # service does the same when it starts.
    gc.collect()
    gc.freeze()
    started = time.process_time()
    watching = asyncio.create_task(watch())
    try:
        yield turns
    finally:
        turns.process_seconds = time.process_time() - started
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching


async def longest_share(work: Callable[[], Awaitable[object]], limit: float) -> float:
    """Return the longest iteration's share of the processor time while the work runs.

    A busy machine lengthens single iterations. Work that holds the loop does so each time. So the
    work is measured again, a few times, until its share is below the limit.
    """
    share = 1.0
    for _ in range(_ATTEMPTS):
        async with watched_loop() as turns:
            await work()
        share = min(share, turns.longest_share)
        if share < limit:
            break
    return share


async def most_calls(work: Callable[[], Awaitable[object]]) -> int:
    """Return the number of function calls in the longest iteration of the loop during the work.

    It is a count of work, so it depends neither on the machine nor on coverage. The work runs
    twice: the first time fills caches.
    """
    await work()
    calls = most = 0

    def count(_: FrameType, event: str, __: object) -> None:
        nonlocal calls
        calls += event in {"call", "c_call"}

    async def watch() -> None:
        nonlocal calls, most
        while True:
            calls = 0
            await asyncio.sleep(0)
            most = max(most, calls)

    watching = asyncio.create_task(watch())
    sys.setprofile(count)
    try:
        await work()
    finally:
        sys.setprofile(None)
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching
    return most
