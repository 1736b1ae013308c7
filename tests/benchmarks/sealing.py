"""Measure sealing and opening a secret of 256 bytes, without the database.

The measure is the processor time of the thread, which the load of others does not increase.
"""

import os
import statistics
import time
from collections.abc import Callable

from rich.progress import Progress

from app.secrets.envelope import KEY_BYTES, DataKey, EntryVersion, fresh
from tests.benchmarks.figures import PROCESSOR, Figure

ROUNDS = 15
_ROUND_CALLS = 5_000
_ENTRY_VERSION = EntryVersion(environment="production", key="database/password", version=7)


async def measure(progress: Progress) -> list[Figure]:
    """Measure both directions, including salt and commitment."""
    task = progress.add_task("sealing", total=2)
    key = DataKey(os.urandom(8), os.urandom(KEY_BYTES))
    value = os.urandom(256)
    sealed = key.seal(fresh(value), _ENTRY_VERSION)
    figures = []
    for case, work in (
        ("seal 256 bytes", lambda: key.seal(fresh(value), _ENTRY_VERSION)),
        ("open 256 bytes", lambda: key.open(sealed, _ENTRY_VERSION)),
    ):
        rounds = [_microseconds(work) for _ in range(ROUNDS)]
        figures.append(
            Figure(
                case=case,
                value=statistics.median(rounds),
                unit=PROCESSOR,
                detail=f"median of {ROUNDS} rounds of {_ROUND_CALLS:,}",
            )
        )
        progress.advance(task)
    return figures


def _microseconds(work: Callable[[], object]) -> float:
    started = time.thread_time()
    for _ in range(_ROUND_CALLS):
        work()
    return (time.thread_time() - started) / _ROUND_CALLS * 1e6
