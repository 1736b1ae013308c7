"""Measure reads of an environment with 100,000 revisions, and the verification of its history."""

import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
from rich.progress import Progress

from app.audit.chain import consistent_read
from app.audit.verification import Verified, verify
from app.configuration.changes.authority import OPERATOR_AUTHORITY
from app.configuration.changes.models import Content, Kind, Operation
from app.configuration.changes.service import apply
from app.database import Connection
from tests.benchmarks.connection import connected, require_good
from tests.benchmarks.figures import Figure, latencies
from tests.benchmarks.processes import LOCAL, Service, data_folder, service
from tests.benchmarks.writes import opened

REVISIONS = 100_000
_MIDDLE = REVISIONS // 2
_AT_ONCE = 200
_KEYS = 500
_ROUNDS = 3
_REQUESTS = 10


async def measure(progress: Progress) -> list[Figure]:
    """Measure one verification, then requests for past states."""
    with data_folder() as folder:
        verified = await _fill_and_verify(folder, progress)
        with service(folder) as served:
            return [*await _reads(served, progress), verified]


async def _fill_and_verify(folder: Path, progress: Progress) -> Figure:
    async with opened(folder) as database:
        task = progress.add_task(f"past: writing {REVISIONS:,} revisions", total=REVISIONS)
        for first in range(0, REVISIONS, _AT_ONCE):
            await database.transact(_writing(first))
            progress.advance(task, _AT_ONCE)
        task = progress.add_task("past: verifying", total=REVISIONS)
        started = time.perf_counter()
        async with consistent_read(database) as connection:
            outcome = await verify(
                connection, "local", report=lambda done: progress.update(task, completed=done)
            )
        seconds = time.perf_counter() - started
    assert isinstance(outcome, Verified)
    assert outcome.revision == REVISIONS
    return Figure(
        case=f"verify {REVISIONS:,} revisions",
        value=seconds,
        unit="s",
        detail=f"{REVISIONS / seconds:,.0f} revisions/s",
    )


def _writing(first: int) -> Callable[[Connection], Awaitable[None]]:
    async def work(connection: Connection) -> None:
        for number in range(first, first + _AT_ONCE):
            content = Content(kind=Kind.SETTING, value={"retries": number, "currencies": ["EUR"]})
            operation = Operation(key=f"key/{number % _KEYS}", content=content, expected=None)
            await apply(
                connection, "local", [operation], actor="bench", authority=OPERATOR_AUTHORITY
            )

    return work


async def _reads(served: Service, progress: Progress) -> list[Figure]:
    entries = f"{LOCAL}/configurations"
    body = msgspec.json.encode({"revision": _MIDDLE})
    cases = {
        "an entry as of a revision": ("GET", f"{entries}/key/7?revision={_MIDDLE}", b""),
        "a list as of a revision": ("GET", f"{entries}?revision={_MIDDLE}", b""),
        "diff of two revisions": ("GET", f"{LOCAL}/diff?from={_MIDDLE}&to={REVISIONS}", b""),
        "restore, dry run": ("POST", f"{LOCAL}/restore?dry_run=true", body),
    }
    figures: list[Figure] = []
    task = progress.add_task("past: reading", total=len(cases))
    async with connected(served.port) as connection:
        for case, (method, path, content) in cases.items():
            request = served.request(method, path, body=content)
            rounds: list[list[float]] = [[] for _ in range(_ROUNDS)]
            for seconds in rounds:
                for _ in range(_REQUESTS):
                    started = time.perf_counter()
                    require_good(await connection.ask(request))
                    seconds.append(time.perf_counter() - started)
            figures += latencies(case, rounds)
            progress.advance(task)
    return figures
