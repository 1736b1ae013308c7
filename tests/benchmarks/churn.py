"""Measure evaluations while changes reach an environment of 10,000 flags.

The clients send at a fixed rate, so an interruption delays all requests that fall into it.
"""

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
from rich.progress import Progress

from tests.benchmarks.connection import connected, require_good
from tests.benchmarks.figures import Figure, latencies
from tests.benchmarks.flags import condition, context, definition, fill, flags, half_splits
from tests.benchmarks.load import send
from tests.benchmarks.processes import Service, data_folder, service

_ENVIRONMENT = "churn"
_FLAGS = 10_000
_EVALUATIONS_PER_SECOND = 1_000
_CHANGES_PER_SECOND = 10
_ROUNDS = 5
_ROUND_SECONDS = 3.0


async def measure(progress: Progress) -> list[Figure]:
    """Measure rounds with changes, and rounds without."""
    quiet: list[list[float]] = []
    changing: list[list[float]] = []
    task = progress.add_task("churn: filling", total=2 * _ROUNDS)
    with data_folder() as folder:
        await fill(folder, {_ENVIRONMENT: flags(_FLAGS, half_splits)})
        with service(folder) as served:
            versions = itertools.count(1)
            for _ in range(_ROUNDS):
                progress.update(task, description="churn: quiet", advance=1)
                quiet.append(await _evaluate(served))
                progress.update(task, description="churn: changes", advance=1)
                async with _changes(served, versions):
                    changing.append(await _evaluate(served))
    return [
        *latencies(f"one of {_FLAGS:,} flags, no changes", quiet),
        *latencies(f"one of {_FLAGS:,} flags, {_CHANGES_PER_SECOND} changes/s", changing),
    ]


async def _evaluate(served: Service) -> list[float]:
    path = f"/v1/environments/{_ENVIRONMENT}/ofrep/v1/evaluate/flags/bench-7"
    requests = itertools.cycle(
        [served.request("POST", path, body=context(user)) for user in range(500)]
    )
    round_ = await send(
        served, requests.__next__, _ROUND_SECONDS, per_second=_EVALUATIONS_PER_SECOND
    )
    if round_.statuses != {200}:
        raise RuntimeError(f"churn: expected 200, got {sorted(round_.statuses)}")
    return round_.latencies


@asynccontextmanager
async def _changes(served: Service, versions: "itertools.count[int]") -> AsyncIterator[None]:
    """Write one flag again and again, until the block ends."""

    async def write() -> None:
        async with connected(served.port) as connection:
            for version in versions:
                value = definition(condition(version))
                value["variants"]["off"] = bool(version % 2)
                body = msgspec.json.encode({"kind": "flag", "value": value})
                request = served.put("bench-42", body, version, _ENVIRONMENT)
                started = asyncio.get_running_loop().time()
                require_good(await connection.ask(request))
                due = started + 1 / _CHANGES_PER_SECOND
                await asyncio.sleep(due - asyncio.get_running_loop().time())

    writing = asyncio.create_task(write())
    try:
        yield
    finally:
        writing.cancel()
        await asyncio.wait([writing])
    if not writing.cancelled():
        writing.result()
