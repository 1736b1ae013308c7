"""Measure the commands that make and verify a backup of an incompressible gigabyte.

The measure is the private memory of the process, which must not grow with the database. The details
have the part that its libraries use before the work starts.
"""

import asyncio
import os
import re
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psycopg
from rich.progress import Progress

from app.database.client.drivers import libpq_arguments
from app.database.migrations.runner import Migrator
from app.database.role_names import BACKUP, OWNER
from app.database.targets import open_targets_async
from app.operations.backups.store import DATA
from app.settings import Target, load
from app.threads import in_thread
from tests.benchmarks.figures import Figure
from tests.benchmarks.memory import KIB, MIB
from tests.benchmarks.processes import data_folder
from tests.paths import ROOT

BYTES = 1024 * MIB
_ROW_BYTES = 1 * MIB
_LOOK_SECONDS = 0.02
_ANONYMOUS = re.compile(r"^RssAnon:\s+(\d+) kB", re.MULTILINE)
_RESIDENT = re.compile(r"^VmHWM:\s+(\d+) kB", re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class Run:
    """The duration and peak memory of a command, alone and with its children."""

    seconds: float
    own_bytes: int
    resident_bytes: int


async def measure(progress: Progress) -> list[Figure]:
    """Measure making and verifying a backup, compared with making an almost empty one."""
    task = progress.add_task("backups: small", total=4)
    with data_folder() as folder:
        settings = load({"DATA_DIR": str(folder)})
        async with open_targets_async(settings) as targets:
            migrator = Migrator(
                target=targets.migrator, settings=settings.database, instance="benchmark"
            )
            await in_thread("migrate", migrator.migrate)
            small = await _run(folder, "create")
            progress.update(task, advance=1, description="backups: filling")
            await in_thread("fill", lambda: _fill(targets.migrator))
            progress.update(task, advance=1, description="backups: making")
            run = await _run(folder, "create")
            size = max(path.stat().st_size for path in folder.glob(f"backups/*/{DATA}"))
            progress.update(task, advance=1, description="backups: proving")
            proven = await _run(folder, "verify")
            progress.advance(task)
    return [*_figures("backed up", run, small, size), *_figures("verified", proven, small, size)]


def _figures(verb: str, run: Run, small: Run, size: int) -> Sequence[Figure]:
    return (
        Figure(
            case=f"memory while 1 GiB is {verb}",
            value=run.own_bytes / MIB,
            unit="MiB",
            detail=f"{size / MIB:,.0f} MiB; {small.own_bytes / MIB:.0f} MiB for next to nothing; "
            f"with the libraries' files {small.resident_bytes / MIB:.0f} and "
            f"{run.resident_bytes / MIB:.0f} MiB",
        ),
        Figure(
            case=f"1 GiB {verb}",
            value=run.seconds / (BYTES / 1024 / MIB),
            unit="s",
            detail=f"{BYTES / MIB / run.seconds:,.0f} MiB/s of rows",
        ),
    )


def _fill(target: Target) -> None:
    arguments = libpq_arguments(target, load({}).database)
    with psycopg.connect(**arguments, autocommit=True) as connection:
        connection.execute(f"set role {OWNER}")
        connection.execute("create table flagstone.ballast (content bytea)")
        connection.execute("alter table flagstone.ballast alter content set storage external")
        connection.execute(f"grant select on flagstone.ballast to {BACKUP}")
        with connection.cursor().copy("copy flagstone.ballast from stdin (format binary)") as copy:
            copy.set_types(["bytea"])
            for _ in range(BYTES // _ROW_BYTES):
                copy.write_row([os.urandom(_ROW_BYTES)])


async def _run(folder: Path, verb: str) -> Run:
    started = time.monotonic()
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "app", "backup", verb),
        cwd=ROOT,
        env={**os.environ, "DATA_DIR": str(folder), "LOG_LEVEL": "error"},
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    peak = resident = 0
    while child.returncode is None:
        text = _status(child.pid)
        peak = max(peak, _kibibytes(_ANONYMOUS, text))
        resident = max(resident, _kibibytes(_RESIDENT, text))
        await asyncio.sleep(_LOOK_SECONDS)
    if child.returncode:
        raise RuntimeError(f"backup {verb} ended with {child.returncode}")
    return Run(
        seconds=time.monotonic() - started,
        own_bytes=peak * KIB,
        resident_bytes=resident * KIB,
    )


def _status(pid: int) -> str:
    return Path(f"/proc/{pid}/status").read_text()


def _kibibytes(pattern: re.Pattern[str], text: str) -> int:
    match = pattern.search(text)
    return int(match[1]) if match else 0
