"""Measure cases of requests in alternating short rounds.

On a shared machine rates vary. Processor time varies less, and so does the ratio to a floor of the
same rounds. The median round counts, and the processor time of all rounds.
"""

import itertools
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from rich.progress import Progress

from tests.benchmarks.figures import FLOOR, P50, P99, PROCESSOR, RATE, Figure, median_of, percentile
from tests.benchmarks.load import CONNECTIONS, Round, send
from tests.benchmarks.processes import Server

ROUNDS = 5
ROUND_SECONDS = 0.8
_WARM_UP_SECONDS = 0.2


@dataclass(frozen=True, kw_only=True)
class Case:
    """Requests to one server, the only status that they get, and the case that is their floor."""

    server: Server
    make: Callable[[], bytes]
    floor: str | None = None
    status: int = 200
    connections: int = CONNECTIONS


def repeated(server: Server, *requests: bytes, floor: str | None = None, status: int = 200) -> Case:
    """Return the case of these requests in turn."""
    make = itertools.cycle(requests).__next__
    return Case(server=server, make=make, floor=floor, status=status)


async def measured(part: str, cases: Mapping[str, Case], progress: Progress) -> list[Figure]:
    """Return the figures of each case: ratio to its floor, processor time, rate, latencies."""
    rounds: dict[str, list[Round]] = {name: [] for name in cases}
    task = progress.add_task(part, total=ROUNDS * len(cases))
    for case in cases.values():
        await send(case.server, case.make, _WARM_UP_SECONDS, case.connections)
    for _ in range(ROUNDS):
        for name, case in cases.items():
            progress.update(task, description=f"{part}: {name}")
            done = await send(case.server, case.make, ROUND_SECONDS, case.connections)
            if done.statuses != {case.status}:
                raise RuntimeError(f"{name}: expected {case.status}, got {sorted(done.statuses)}")
            rounds[name].append(done)
            progress.advance(task)
    return [figure for name, case in cases.items() for figure in _figures(name, case, rounds)]


def _figures(name: str, case: Case, rounds: Mapping[str, Sequence[Round]]) -> list[Figure]:
    own = rounds[name]
    rate = _median_rate(own)
    database = _microseconds(own, lambda each: each.processor.database)
    processor = _microseconds(own, lambda each: each.processor.service) + database
    load = _microseconds(own, lambda each: each.load_seconds)
    latencies = [each.latencies for each in own]
    slowest = percentile([second for each in latencies for second in each], 0.999) * 1000
    parts = {
        PROCESSOR: (processor, f"{database:.0f} of them in PostgreSQL" if database >= 1 else ""),
        RATE: (rate, f"{case.connections} connections; the load used {load:.0f} µs per request"),
        P50: (median_of(latencies, 0.5) * 1000, ""),
        P99: (median_of(latencies, 0.99) * 1000, f"99.9 %: {slowest:.1f} ms"),
    }
    if case.floor is not None and case.floor != name:
        parts = {FLOOR: (rate / _median_rate(rounds[case.floor]), case.floor), **parts}
    return [
        Figure(case=name, value=value, unit=unit, detail=detail)
        for unit, (value, detail) in parts.items()
    ]


def _median_rate(rounds: Sequence[Round]) -> float:
    return statistics.median(each.per_second for each in rounds)


def _microseconds(rounds: Sequence[Round], seconds: Callable[[Round], float]) -> float:
    """Return the microseconds per request of all rounds."""
    return sum(map(seconds, rounds)) / sum(len(each.latencies) for each in rounds) * 1e6
