"""Measure the time from a write to one of two replicas until the other one serves it.

Other processes delay a few changes at a time, so the high percentile of the median round counts.
"""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from rich.progress import Progress

from tests.benchmarks.connection import Connection, connected, require_good
from tests.benchmarks.figures import PROCESSOR, Figure, latencies
from tests.benchmarks.processes import LOCAL, Service, data_folder, service
from tests.benchmarks.processor import processor_time

REPLICAS = 2
ROUNDS = 5
CHANGES = 120
# The pause between reads of a replica. A shorter one would slow down the write.
_LOOK_SECONDS = 0.0005
_REST_SECONDS = 0.01
_SETTLE_SECONDS = 0.5
_KEY = "bench/spread"


async def measure(progress: Progress) -> list[Figure]:
    """Measure from a write until the other replica has answered a read with it, and its work."""
    task = progress.add_task("changes: spread to another replica", total=(ROUNDS + 1) * CHANGES)
    versions = itertools.count()
    rounds: list[list[float]] = [[] for _ in range(ROUNDS)]
    with data_folder() as folder:
        async with AsyncExitStack() as stack:
            services = [stack.enter_context(service(folder)) for _ in range(REPLICAS)]
            # After the last start: an instance closes connections that are idle for long.
            replicas = [await stack.enter_async_context(_replica(served)) for served in services]
            await _spread(replicas, next(versions))
            for seconds in rounds:
                for version in itertools.islice(versions, CHANGES):
                    seconds.append(await _spread(replicas, version))
                    progress.advance(task)
                    await asyncio.sleep(_REST_SECONDS)
            writer, follower = replicas
            before = processor_time(follower.served.pid, None)
            for version in itertools.islice(versions, CHANGES):
                require_good(await writer.writer.ask(_change(writer.served, version)))
                progress.advance(task)
                await asyncio.sleep(_REST_SECONDS)
            await asyncio.sleep(_SETTLE_SECONDS)
            used = processor_time(follower.served.pid, None).since(before).service
    return [
        *latencies("PUT until another replica serves it", rounds),
        Figure(
            case="one change, at a replica",
            value=used / CHANGES * 1e6,
            unit=PROCESSOR,
            detail="of the service that did not write, with its background tasks",
        ),
    ]


@dataclass(frozen=True, kw_only=True)
class _Replica:
    """An instance with one connection for writes and one for reads."""

    served: Service
    writer: Connection
    reader: Connection


@asynccontextmanager
async def _replica(served: Service) -> AsyncIterator[_Replica]:
    async with connected(served.port) as writer, connected(served.port) as reader:
        yield _Replica(served=served, writer=writer, reader=reader)


async def _spread(replicas: Sequence[_Replica], version: int) -> float:
    """Write the version after the given one; return the seconds until the other serves it."""
    target, other = replicas[version % REPLICAS], replicas[(version + 1) % REPLICAS]
    request = _change(target.served, version)
    started = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        writing = group.create_task(target.writer.ask(request))
        seeing = group.create_task(_seen(other, version + 1))
    require_good(writing.result())
    return seeing.result() - started


def _change(served: Service, version: int) -> bytes:
    return served.put(_KEY, b'{"value": "a change"}', version)


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
