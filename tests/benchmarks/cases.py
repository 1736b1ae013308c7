"""Measure cases of requests in alternating short rounds, as shares of their floors.

On a shared machine figures vary, but ratios within a run vary much less. The median round counts.
"""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from rich.progress import Progress

from tests.benchmarks.figures import Figure, milliseconds
from tests.benchmarks.load import Round, send
from tests.benchmarks.processes import Server

ROUNDS = 5
ROUND_SECONDS = 1.5


@dataclass(frozen=True, kw_only=True)
class Case:
    """Requests to one server, and the case that is their floor."""

    server: Server
    make: Callable[[], bytes]
    floor: str
    at_least: float | None = None


def fixed(server: Server, request: bytes, floor: str, at_least: float | None = None) -> Case:
    """Return the case of one repeated request."""
    return Case(server=server, make=lambda: request, floor=floor, at_least=at_least)


async def shares(part: str, cases: Mapping[str, Case], progress: Progress) -> list[Figure]:
    """Return the throughput of each case as a share of its floor's."""
    rounds: dict[str, list[Round]] = {name: [] for name in cases}
    task = progress.add_task(part, total=ROUNDS * len(cases))
    for _ in range(ROUNDS):
        for name, case in cases.items():
            progress.update(task, description=f"{part}: {name}")
            rounds[name].append(await send(case.server, case.make, ROUND_SECONDS))
            progress.advance(task)
    return [_share(name, case, rounds) for name, case in cases.items()]


def _share(name: str, case: Case, rounds: Mapping[str, Sequence[Round]]) -> Figure:
    per_second = _median_per_second(rounds[name])
    # The server's processor time alone, without that of the load.
    processor = statistics.median(measured.processor_seconds for measured in rounds[name])
    latencies = [latency for measured in rounds[name] for latency in measured.latencies]
    statuses = sorted({status for measured in rounds[name] for status in measured.statuses})
    return Figure(
        case=name,
        value=per_second / _median_per_second(rounds[case.floor]),
        unit="of the floor",
        at_least=case.at_least,
        detail=f"{per_second:,.0f}/s, {_microseconds(processor)}{milliseconds(latencies)}, "
        f"{', '.join(map(str, statuses))}",
    )


def _microseconds(processor: float) -> str:
    """Describe the server's processor time per request; unknown for several processes."""
    return f"{processor * 1e6:.0f} us of processor, " if processor > 1e-6 else ""


def _median_per_second(rounds: Sequence[Round]) -> float:
    return statistics.median(measured.per_second for measured in rounds)
