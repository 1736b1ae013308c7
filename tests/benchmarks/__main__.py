"""`make bench`: the service against a bare handler, in one run, on this machine.

Figures of a shared machine move; the ratios of one run move much less. Each case is measured in
several short rounds that take turns with the floor's, and the median round counts.
"""

import itertools
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import uvloop
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from tests.benchmarks.load import Figures, measure

ROUNDS = 5
ROUND_SECONDS = 2.0
START_SECONDS = 60
_ROOT = Path(__file__).parents[2]
_CONFIGURATION = "/v1/environments/local/configurations/"


def main() -> None:
    console = Console()
    folder = Path(tempfile.mkdtemp(prefix="flagstone-bench-"))
    folder.chmod(0o755)
    try:
        with _service(folder) as port, _floor(_size_of_get(folder, port)) as floor_port:
            results = uvloop.run(_measure_all(folder, port, floor_port, console))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    console.print(_table(results))


async def _measure_all(
    folder: Path, port: int, floor_port: int, console: Console
) -> dict[str, list[Figures]]:
    token = (folder / "admin-token").read_text().strip()
    cases = {
        "bare handler": (floor_port, _fixed(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")),
        "GET /health/live": (port, _fixed(_head("GET", "/health/live", token) + b"\r\n")),
        "GET one configuration": (
            port,
            _fixed(_head("GET", _CONFIGURATION + "checkout/retries", token) + b"\r\n"),
        ),
        "PUT one configuration": (port, _puts(token)),
    }
    results: dict[str, list[Figures]] = {name: [] for name in cases}
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task("measuring", total=ROUNDS * len(cases))
        for _ in range(ROUNDS):
            for name, (case_port, make) in cases.items():
                progress.update(task, description=name)
                results[name].append(await measure(case_port, make, ROUND_SECONDS))
                progress.advance(task)
    return results


def _table(results: dict[str, list[Figures]]) -> Table:
    table = Table("case", title=f"{ROUNDS} rounds of {ROUND_SECONDS:g} s, 16 connections, medians")
    for heading in ("requests/s", "of the floor", "p50 ms", "p99 ms", "answers"):
        table.add_column(heading, justify="right")
    floor = _median(results["bare handler"], lambda figures: figures.per_second)
    for name, rounds in results.items():
        per_second = _median(rounds, lambda figures: figures.per_second)
        statuses = {status for figures in rounds for status in figures.statuses}
        table.add_row(
            name,
            f"{per_second:,.0f}",
            f"{per_second / floor:.2f}",
            f"{_median(rounds, lambda figures: figures.percentile_ms(0.5)):.2f}",
            f"{_median(rounds, lambda figures: figures.percentile_ms(0.99)):.2f}",
            ", ".join(map(str, sorted(statuses))),
        )
    return table


def _median(rounds: list[Figures], figure: Callable[[Figures], float]) -> float:
    return statistics.median(map(figure, rounds))


def _head(method: str, path: str, token: str) -> bytes:
    return (f"{method} {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n").encode()


def _fixed(request: bytes) -> Callable[[], bytes]:
    return lambda: request


def _puts(token: str) -> Callable[[], bytes]:
    """Return what makes the next write: a new key each time, so that none conflicts."""
    numbers = itertools.count()
    body = b'{"value": {"retries": 3, "currencies": ["EUR", "USD"]}}'
    tail = (
        f"If-None-Match: *\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode() + body

    def make() -> bytes:
        return _head("PUT", f"{_CONFIGURATION}bench/{next(numbers)}", token) + tail

    return make


def _size_of_get(folder: Path, port: int) -> int:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}{_CONFIGURATION}checkout/retries",
        headers={"X-API-Key": (folder / "admin-token").read_text().strip()},
    )
    with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 - our own service
        return len(answer.read())


@contextmanager
def _service(folder: Path) -> Iterator[int]:
    """The service as production runs it: logs in JSON, one good read in a hundred logged."""
    port = _free_port()
    environment = {
        **os.environ,
        "DATA_DIR": str(folder),
        "PORT": str(port),
        "LOG_FORMAT": "json",
        "ACCESS_LOG_SAMPLE": "100",
        "DATABASE_POOL_MAX": "10",
    }
    with (folder / "service.log").open("wb") as log:
        child = subprocess.Popen(
            [sys.executable, "-m", "app", "serve"], cwd=_ROOT, env=environment, stderr=log
        )
        try:
            _wait_for(f"http://127.0.0.1:{port}/health/ready")
            yield port
        finally:
            child.terminate()
            child.wait(30)


@contextmanager
def _floor(size: int) -> Iterator[int]:
    port = _free_port()
    child = subprocess.Popen(
        [sys.executable, "-m", "tests.benchmarks.floor", str(port), str(size)], cwd=_ROOT
    )
    try:
        _wait_for(f"http://127.0.0.1:{port}/")
        yield port
    finally:
        child.terminate()
        child.wait(30)


def _wait_for(url: str) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            urllib.request.urlopen(url, timeout=2).close()  # noqa: S310 - our own service
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    main()
