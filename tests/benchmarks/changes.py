"""Measure the time from a write to one of three replicas to its reads on all three.

Other processes delay a few changes at a time, so the high percentile of the median round counts.
"""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.progress import Progress

from tests.benchmarks.connection import Connection, connected, require_good
from tests.benchmarks.figures import Figure, median_of, spread
from tests.benchmarks.processes import LOCAL, Service, data_folder, service

REPLICAS = 3
ROUNDS = 5
CHANGES = 120
# The pause between reads of a replica. A shorter one would slow down the write.
_LOOK_SECONDS = 0.0005
_REST_SECONDS = 0.01
_KEY = "bench/spread"


async def measure(progress: Progress) -> list[Figure]:
    """Measure from sending a write until every replica has answered a read with it."""
    task = progress.add_task("changes: spread to the replicas", total=ROUNDS * CHANGES)
    versions = itertools.count()
    rounds: list[list[float]] = [[] for _ in range(ROUNDS)]
    with data_folder() as folder:
        async with AsyncExitStack() as stack:
            replicas = [await stack.enter_async_context(_replica(folder)) for _ in range(REPLICAS)]
            await _spread(replicas, next(versions))
            for seconds in rounds:
                for version in itertools.islice(versions, CHANGES):
                    seconds.append(await _spread(replicas, version))
                    progress.advance(task)
                    await asyncio.sleep(_REST_SECONDS)
    return [
        Figure(
            case=f"PUT until read on {REPLICAS} of {REPLICAS} replicas, p99",
            value=median_of(rounds, 0.99) * 1000,
            unit="ms",
            at_most=25,
            detail=spread(rounds),
        )
    ]


@dataclass(frozen=True, kw_only=True)
class _Replica:
    """An instance with one connection for writes and one for reads."""

    served: Service
    writer: Connection
    reader: Connection


@asynccontextmanager
async def _replica(folder: Path) -> AsyncIterator[_Replica]:
    with service(folder) as served:
        async with connected(served.port) as writer, connected(served.port) as reader:
            yield _Replica(served=served, writer=writer, reader=reader)


async def _spread(replicas: Sequence[_Replica], version: int) -> float:
    """Write the version after the given one to the next replica; return the seconds until seen."""
    target = replicas[version % REPLICAS]
    request = target.served.put(_KEY, b'{"value": "a change"}', version)
    started = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        writing = group.create_task(target.writer.ask(request))
        seeing = [group.create_task(_seen(replica, version + 1)) for replica in replicas]
    require_good(writing.result())
    return max(task.result() for task in seeing) - started


async def _seen(replica: _Replica, version: int) -> float:
    """Read until the version is served, and return the time."""
    request = replica.served.request("GET", f"{LOCAL}/configurations/{_KEY}")
    expected = b'"version":%d,' % version
    async with asyncio.timeout(10):
        while True:
            answer = await replica.reader.ask(request)
            if expected in answer.body:
                return time.perf_counter()
            await asyncio.sleep(_LOOK_SECONDS)
