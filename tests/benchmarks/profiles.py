"""`make bench-profile`: show where the service spends its time.

The service runs under cProfile, which slows down Python code more than C code. Compare shares, and
measure times with `make bench`.
"""

import os
import pstats
from collections.abc import Callable
from cProfile import Profile
from enum import StrEnum, auto
from itertools import cycle

import typer
import uvloop

from app.cli.serve import serve
from tests.benchmarks.flags import context, fill, flags, half_splits
from tests.benchmarks.load import send
from tests.benchmarks.processes import Service, data_folder, service
from tests.benchmarks.puts import new_entries
from tests.guardian import guarded_folder

_ENVIRONMENT = "profiles"
_FLAGS = 1_000
_SECONDS = 4.0
_LINES = 30
_FILE = "FLAGSTONE_PROFILE"


class Case(StrEnum):
    ONE = auto()
    BULK = auto()
    PUT = auto()


def main(case: Case) -> None:
    """Send one kind of request for some seconds, and print the functions that used most time."""
    with guarded_folder(in_memory=False):
        uvloop.run(_show(case))


async def _show(case: Case) -> None:
    with data_folder() as folder:
        file = folder / "profile"
        await fill(folder, {_ENVIRONMENT: flags(_FLAGS, half_splits)})
        with service(folder, "tests.benchmarks.profiles", **{_FILE: str(file)}) as served:
            connections = 16 if case is Case.PUT else 32
            round_ = await send(served, _make(case, served), _SECONDS, connections)
        print(f"{len(round_.latencies):,} requests, {round_.statuses}")  # noqa: T201
        pstats.Stats(str(file)).sort_stats("tottime").print_stats(_LINES)


def _make(case: Case, served: Service) -> Callable[[], bytes]:
    if case is Case.PUT:
        return new_entries(served)
    path = f"/v1/environments/{_ENVIRONMENT}/ofrep/v1/evaluate/flags"
    key = "/bench-7" if case is Case.ONE else ""
    requests = [served.request("POST", path + key, body=context(user)) for user in range(500)]
    return cycle(requests).__next__


def _serve(file: str) -> None:
    """Run the service, and write its profile at its end."""
    profile = Profile()
    try:
        profile.runcall(serve)
    finally:
        profile.dump_stats(file)


if __name__ == "__main__":
    if file := os.environ.get(_FILE):
        _serve(file)
    else:
        typer.run(main)
