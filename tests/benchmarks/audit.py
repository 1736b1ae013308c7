"""Measure `audit verify` of 100,000 revisions."""

import time
from collections.abc import Awaitable, Callable

from rich.progress import Progress

from app.audit.chain import consistent_read
from app.audit.verification import Verified, verify
from app.configuration.changes.models import Content, Kind, Operation
from app.configuration.changes.service import apply
from app.database import Connection
from tests.benchmarks.figures import Figure
from tests.benchmarks.processes import data_folder
from tests.benchmarks.writes import opened

REVISIONS = 100_000
_AT_ONCE = 200
_KEYS = 500


async def measure(progress: Progress) -> list[Figure]:
    """Measure one verification, from the first revision to the current entries."""
    with data_folder() as folder:
        async with opened(folder) as database:
            task = progress.add_task(f"audit: writing {REVISIONS:,} revisions", total=REVISIONS)
            for first in range(0, REVISIONS, _AT_ONCE):
                await database.transact(_writing(first))
                progress.advance(task, _AT_ONCE)
            task = progress.add_task("audit: verifying", total=REVISIONS)
            started = time.perf_counter()
            async with consistent_read(database) as connection:
                outcome = await verify(
                    connection, "local", report=lambda done: progress.update(task, completed=done)
                )
            seconds = time.perf_counter() - started
            assert isinstance(outcome, Verified)
            assert outcome.revision == REVISIONS
    return [
        Figure(
            case=f"verify {REVISIONS:,} revisions",
            value=seconds,
            unit="s",
            at_most=10,
            detail=f"{REVISIONS / seconds:,.0f} revisions/s",
        )
    ]


def _writing(first: int) -> Callable[[Connection], Awaitable[None]]:
    async def work(connection: Connection) -> None:
        for number in range(first, first + _AT_ONCE):
            content = Content(kind=Kind.SETTING, value={"retries": number, "currencies": ["EUR"]})
            operation = Operation(key=f"key/{number % _KEYS}", content=content, expected=None)
            await apply(connection, "local", [operation], actor="bench")

    return work
