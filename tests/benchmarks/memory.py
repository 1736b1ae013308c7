"""Resident memory of a process, after its garbage has been collected.

`python -m tests.benchmarks.memory` is `serve`, but collects its garbage on SIGUSR1 from another
process. Memory that the allocator retains counts, as it does for an operator.
"""

import asyncio
import gc
import os
import signal

import psutil

from app.cli.serve import serve

KIB = 1024
MIB = 1024 * 1024
SETTLE_SECONDS = 2.0


def resident_bytes(pid: int | None = None) -> int:
    """Return the resident bytes of a process, by default this one."""
    return int(psutil.Process(pid).memory_info().rss)


async def settled_bytes(pid: int) -> int:
    """Return the resident bytes of an idle service that collects garbage on SIGUSR1."""
    await asyncio.sleep(SETTLE_SECONDS)
    os.kill(pid, signal.SIGUSR1)
    await asyncio.sleep(SETTLE_SECONDS / 2)
    return resident_bytes(pid)


if __name__ == "__main__":
    signal.signal(signal.SIGUSR1, lambda *_: gc.collect())
    serve()
