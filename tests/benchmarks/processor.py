"""Pin processes to cores, and read the processor time that they used.

A measured service has the first core, and the load that measures it has the second.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

SERVICE, LOAD = 0, 1
_CORES = sorted(os.sched_getaffinity(0)) if sys.platform == "linux" else []


@contextmanager
def pinned(core: int) -> Iterator[None]:
    """Run this thread, and the processes that it starts, on one core.

    Changes nothing on a machine with one core, or without Linux.
    """
    if sys.platform != "linux" or len(_CORES) < 2:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {_CORES[core]})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@dataclass(frozen=True, kw_only=True)
class ProcessorTime:
    """The seconds that the processes of a service and of its PostgreSQL have used."""

    service: float
    database: float

    def since(self, before: "ProcessorTime") -> "ProcessorTime":
        return ProcessorTime(
            service=self.service - before.service, database=self.database - before.database
        )


def processor_time(pid: int, folder: Path | None) -> ProcessorTime:
    """Return the time of a process and of the embedded PostgreSQL of its DATA_DIR."""
    postmasters = folder.glob("pg*/postmaster.pid") if folder else ()
    database = [
        process
        for file in postmasters
        for process in _with_children(int(file.read_text().splitlines()[0]))
    ]
    return ProcessorTime(
        service=sum(map(_seconds, service_processes(pid))), database=sum(map(_seconds, database))
    )


def service_processes(pid: int) -> list[psutil.Process]:
    """Return a process and its workers, without the embedded PostgreSQL that it started."""
    return [process for process in _with_children(pid) if process.name() != "postgres"]


def _with_children(pid: int) -> list[psutil.Process]:
    process = psutil.Process(pid)
    return [process, *process.children(recursive=True)]


def _seconds(process: psutil.Process) -> float:
    """Return the time of a process, and of its children that have ended."""
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0  # its parent has its time now
    return float(times.user + times.system + times.children_user + times.children_system)
