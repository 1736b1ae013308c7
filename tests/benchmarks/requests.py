"""Measure requests per second, as a share of a bare handler with equally large bodies."""

import itertools
from collections.abc import Callable, Mapping

from rich.progress import Progress

from tests.benchmarks.cases import Case, fixed, shares
from tests.benchmarks.connection import connected
from tests.benchmarks.figures import Figure
from tests.benchmarks.floor import UNCHANGED
from tests.benchmarks.processes import LOCAL, Server, Service, data_folder, floor, service

_ENTRY = f"{LOCAL}/configurations/checkout/retries"
_BARE, _BARE_UNCHANGED = "bare handler", "bare handler, 304"


async def measure(progress: Progress) -> list[Figure]:
    """Measure reads, a probe and writes against the two bare handlers."""
    with data_folder() as folder, service(folder) as served:
        async with connected(served.port) as connection:
            entry = await connection.ask(served.request("GET", _ENTRY))
        with floor(len(entry.body)) as bare_server:
            return await shares(
                "requests", _cases(served, bare_server, entry.header("ETag")), progress
            )


def _cases(served: Service, bare_server: Server, etag: str) -> Mapping[str, Case]:
    unchanged = served.request("GET", _ENTRY, f"If-None-Match: {etag}\r\n")

    def bare(path: str, name: str) -> Case:
        return fixed(bare_server, f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode(), name)

    return {
        _BARE: bare("/", _BARE),
        "GET one entry": fixed(served, served.request("GET", _ENTRY), _BARE, 0.65),
        "GET /health/live": fixed(served, served.request("GET", "/health/live"), _BARE),
        _BARE_UNCHANGED: bare(UNCHANGED, _BARE_UNCHANGED),
        "GET one entry, 304": fixed(served, unchanged, _BARE_UNCHANGED, 0.65),
        "PUT one entry": Case(server=served, make=_puts(served), floor=_BARE),
    }


def _puts(served: Service) -> Callable[[], bytes]:
    """Return a function that makes the next write, to a new key each time."""
    numbers = itertools.count()
    body = b'{"value": {"retries": 3, "currencies": ["EUR", "USD"]}}'
    return lambda: served.put(f"bench/{next(numbers)}", body)
