"""Measure the memory of the service and the time of its start.

The memory is the proportional set size: pages that several processes share are divided among them.
PostgreSQL is not part of it. Modules are compiled before, as an installation compiles them. The
first start migrates the database, and the second one provisions it again, because the migrations
have changed its rights. Neither is measured.
"""

import asyncio
import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.progress import Progress

from tests.benchmarks.connection import connected, require_good
from tests.benchmarks.figures import Figure
from tests.benchmarks.flags import context, fill, flags, half_splits
from tests.benchmarks.memory import KIB, MIB
from tests.benchmarks.processes import Service, data_folder, service
from tests.benchmarks.processor import SERVICE, pinned, service_processes
from tests.paths import ROOT

_ENVIRONMENT = "footprint"
_FLAGS = 10_000
_STARTS = 5
_SETTLE_SECONDS = 3.0
_PROPORTIONAL = re.compile(r"^Pss:\s+(\d+) kB", re.MULTILINE)
_IMPORTS = """
import time
started, processor = time.perf_counter(), time.process_time()
import app.cli.serve
print(time.perf_counter() - started, time.process_time() - processor)
"""


async def measure(progress: Progress) -> list[Figure]:
    """Measure idle instances, one with many flags, and starts beside a running PostgreSQL."""
    task = progress.add_task("footprint", total=5)
    with data_folder() as folder:
        compiled = {
            "PYTHONDONTWRITEBYTECODE": "",
            "PYTHONPYCACHEPREFIX": str(folder / "bytecode"),
        }
        for _ in range(2):
            with service(folder, **compiled):
                pass
        with service(folder, **compiled) as served:
            idle = await _settled_memory(served)
            progress.advance(task)
            starts = [_start(folder, compiled) for _ in range(_STARTS)]
            progress.advance(task)
        imports = [_import(compiled) for _ in range(_STARTS)]
        with service(folder, WORKERS="2", **compiled) as served:
            two = await _settled_memory(served)
            progress.advance(task)
        await fill(folder, {_ENVIRONMENT: flags(_FLAGS, half_splits)})
        progress.advance(task)
        with service(folder, **compiled) as served:
            await _evaluate_all(served)
            full = await _settled_memory(served)
            progress.advance(task)
    return [
        _memory("memory, idle", idle),
        _memory(f"memory, {_FLAGS:,} flags", full),
        _memory("memory, two workers", two),
        *_times("start, empty database", starts),
        *_times("imports alone", imports),
    ]


async def _settled_memory(served: Service) -> int:
    """Return the bytes of an idle service, a few seconds after its start."""
    await asyncio.sleep(_SETTLE_SECONDS)
    return sum(proportional_bytes(process.pid) for process in service_processes(served.pid))


def proportional_bytes(pid: int) -> int:
    match = _PROPORTIONAL.search(Path(f"/proc/{pid}/smaps_rollup").read_text())
    return int(match[1]) * KIB if match else 0


def _start(folder: Path, compiled: Mapping[str, str]) -> tuple[float, float]:
    """Return the seconds until a new process is ready, and its processor time."""
    started = time.perf_counter()
    with service(folder, **compiled) as served:
        return time.perf_counter() - started, served.processor_time().service


async def _evaluate_all(served: Service) -> None:
    """Evaluate every flag, since a flag may be compiled at its first use."""
    path = f"/v1/environments/{_ENVIRONMENT}/ofrep/v1/evaluate/flags"
    async with connected(served.port) as connection:
        require_good(await connection.ask(served.request("POST", path, body=context(1))))


def _import(compiled: Mapping[str, str]) -> tuple[float, float]:
    with pinned(SERVICE):
        done = subprocess.run(
            [sys.executable, "-c", _IMPORTS],
            cwd=ROOT,
            env={**os.environ, **compiled},
            check=True,
            capture_output=True,
            timeout=60,
        )
    seconds, processor = map(float, done.stdout.split())
    return seconds, processor


def _memory(case: str, amount: int) -> Figure:
    return Figure(case=case, unit="MiB", value=amount / MIB)


def _times(case: str, runs: Sequence[tuple[float, float]]) -> list[Figure]:
    """Return the medians of elapsed times and of processor times."""
    seconds, processor = zip(*runs, strict=True)
    return [
        Figure(
            case=case,
            unit="s",
            value=statistics.median(seconds),
            detail=f"median of {len(runs)}, {min(seconds):.2f} to {max(seconds):.2f} s",
        ),
        Figure(case=case, unit="s of processor", value=statistics.median(processor)),
    ]
