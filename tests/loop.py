"""Measure whether work yields to other tasks on the event loop, on a machine of any speed."""

import asyncio
import gc
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass


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

    # A full collection of what earlier tests left takes longer than an iteration.
    gc.collect()
    started = time.process_time()
    watching = asyncio.create_task(watch())
    try:
        yield turns
    finally:
        turns.process_seconds = time.process_time() - started
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching
