"""Requests a second, each as a share of what a bare handler does with as many bytes.

Figures of a shared machine move; the ratios of one run move much less. Each case is measured in
several short rounds that take turns with the floor's, and the median round counts.
"""

import itertools
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from rich.progress import Progress

from tests.benchmarks.connection import connected
from tests.benchmarks.figures import Figure, milliseconds
from tests.benchmarks.floor import UNCHANGED
from tests.benchmarks.load import Round, send
from tests.benchmarks.processes import LOCAL, Service, data_folder, floor, service

ROUNDS = 5
ROUND_SECONDS = 1.5
_ENTRY = f"{LOCAL}/configurations/checkout/retries"
_BARE, _BARE_UNCHANGED = "bare handler", "bare handler, 304"


@dataclass(frozen=True, kw_only=True)
class Case:
    """Requests to one port, and the case whose throughput they are held against."""

    port: int
    make: Callable[[], bytes]
    floor: str
    at_least: float | None = None


async def measure(progress: Progress) -> list[Figure]:
    """Measure reads, a probe and writes against the two bare handlers."""
    with data_folder() as folder, service(folder) as served:
        async with connected(served.port) as connection:
            entry = await connection.ask(served.request("GET", _ENTRY))
        with floor(len(entry.body)) as floor_port:
            cases = _cases(served, floor_port, entry.header("ETag"))
            rounds = await _rounds(cases, progress)
    return [_figure(name, case, rounds) for name, case in cases.items()]


def _cases(served: Service, floor_port: int, etag: str) -> Mapping[str, Case]:
    unchanged = served.request("GET", _ENTRY, f"If-None-Match: {etag}\r\n")

    def bare(path: str, name: str) -> Case:
        request = f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
        return Case(port=floor_port, make=lambda: request, floor=name)

    def fixed(request: bytes, name: str, at_least: float | None = None) -> Case:
        return Case(port=served.port, make=lambda: request, floor=name, at_least=at_least)

    return {
        _BARE: bare("/", _BARE),
        "GET one entry": fixed(served.request("GET", _ENTRY), _BARE, 0.65),
        "GET /health/live": fixed(served.request("GET", "/health/live"), _BARE),
        _BARE_UNCHANGED: bare(UNCHANGED, _BARE_UNCHANGED),
        "GET one entry, 304": fixed(unchanged, _BARE_UNCHANGED, 0.65),
        "PUT one entry": Case(port=served.port, make=_puts(served), floor=_BARE),
    }


def _puts(served: Service) -> Callable[[], bytes]:
    """Return what makes the next write: a new key each time, so that none conflicts."""
    numbers = itertools.count()
    body = b'{"value": {"retries": 3, "currencies": ["EUR", "USD"]}}'
    return lambda: served.put(f"bench/{next(numbers)}", body)


async def _rounds(cases: Mapping[str, Case], progress: Progress) -> Mapping[str, Sequence[Round]]:
    rounds: dict[str, list[Round]] = {name: [] for name in cases}
    task = progress.add_task("requests", total=ROUNDS * len(cases))
    for _ in range(ROUNDS):
        for name, case in cases.items():
            progress.update(task, description=f"requests: {name}")
            rounds[name].append(await send(case.port, case.make, ROUND_SECONDS))
            progress.advance(task)
    return rounds


def _figure(name: str, case: Case, rounds: Mapping[str, Sequence[Round]]) -> Figure:
    per_second = _median_per_second(rounds[name])
    latencies = [latency for each in rounds[name] for latency in each.latencies]
    statuses = sorted({status for each in rounds[name] for status in each.statuses})
    return Figure(
        case=name,
        value=per_second / _median_per_second(rounds[case.floor]),
        unit="of the floor",
        at_least=case.at_least,
        detail=f"{per_second:,.0f}/s, {milliseconds(latencies)}, {', '.join(map(str, statuses))}",
    )


def _median_per_second(rounds: Sequence[Round]) -> float:
    return statistics.median(each.per_second for each in rounds)
