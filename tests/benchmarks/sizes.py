"""Measure loading, holding and updating ten thousand entries of 1 KiB."""

import asyncio
import os
import sys
from functools import partial
from pathlib import Path

import msgspec
from rich.progress import Progress

from app.database.targets import open_database
from app.settings import load
from tests.benchmarks.figures import P50, Figure, milliseconds, percentile
from tests.benchmarks.holder import Held, operation, write
from tests.benchmarks.memory import MIB
from tests.benchmarks.processes import data_folder, service
from tests.paths import ROOT

ENTRIES = 10_000
CHANGES = 300
_AT_ONCE = 1_000


async def measure(progress: Progress) -> list[Figure]:
    """Measure a fresh process with no entries and one with all of them."""
    task = progress.add_task("sizes: empty", total=3)
    with data_folder() as folder, service(folder):
        empty = await _held(folder, changes=0)
        progress.update(task, advance=1, description=f"sizes: writing {ENTRIES:,} entries")
        await _fill(folder)
        progress.update(task, advance=1, description=f"sizes: holding {ENTRIES:,} entries")
        full = await _held(folder, changes=CHANGES)
        progress.advance(task)
    more = full.resident_bytes - empty.resident_bytes
    entries = full.entries - empty.entries
    cpu = milliseconds(full.changes_cpu_seconds)
    return [
        Figure(
            case=f"{ENTRIES:,} entries, loaded",
            value=full.cold_seconds,
            unit="s",
        ),
        Figure(
            case=f"{ENTRIES:,} entries, one change",
            value=percentile(full.changes_seconds, 0.5) * 1000,
            unit=P50,
            detail=f"{CHANGES} changes, {milliseconds(full.changes_seconds)}; processor {cpu}",
        ),
        Figure(
            case=f"{ENTRIES:,} entries, memory",
            value=more / MIB,
            unit="MiB",
            detail=f"resident, collected: {empty.resident_bytes / MIB:.0f} → "
            f"{full.resident_bytes / MIB:.0f} MiB, {more / entries:,.0f} bytes each",
        ),
    ]


async def _fill(folder: Path) -> None:
    async with open_database(load({"DATA_DIR": str(folder)})) as database:
        for start in range(0, ENTRIES, _AT_ONCE):
            operations = [operation(number) for number in range(start, start + _AT_ONCE)]
            await database.transact(partial(write, operations=operations))


async def _held(folder: Path, *, changes: int) -> Held:
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.benchmarks.holder", str(changes)),
        cwd=ROOT,
        env={**os.environ, "DATA_DIR": str(folder), "LOG_LEVEL": "error"},
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await asyncio.wait_for(child.communicate(), 60)
    return msgspec.json.decode(out, type=Held)
