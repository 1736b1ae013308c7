"""`make postgres-versions`: run the database tests with each supported PostgreSQL."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from tests.database.full_postgres import CHOSEN_PROGRAMS
from tests.paths import ROOT
from tests.versions.programs import CACHE, FetchError, programs, versions

_TESTS = "tests/database"
# A run takes minutes, and on a busy machine half an hour. This ends a run that hangs.
_RUN_SECONDS = 7_200
_STOP_SECONDS = 60
_COUNTS = re.compile(r"^=* ?(\d+ (?:passed|failed|skipped|error).*?) in [\d.]+", re.MULTILINE)


def main(
    majors: Annotated[
        list[str] | None, typer.Argument(help="Major versions; all by default.", show_default=False)
    ] = None,
    processes: Annotated[int, typer.Option(help="How many processes run the tests.")] = 2,
) -> None:
    """Run the database tests with each supported PostgreSQL, and print one line for each."""
    console = Console(highlight=False, soft_wrap=True)
    known = versions()
    if unknown := set(majors or ()) - set(known):
        console.print(f"unknown: {', '.join(sorted(unknown))}; known: {', '.join(known)}")
        raise typer.Exit(2)
    failed = False
    for major in majors or known:
        title = f"PostgreSQL {'.'.join(known[major].split('.')[:2])}"
        with console.status(f"{title}: fetching"):
            try:
                folder = programs(known[major])
            except FetchError as error:
                console.print(f"{title}: not tried, since {error}")
                failed = True
                continue
        log = CACHE / f"{major}.log"
        started = time.monotonic()
        with console.status(f"{title}: running {_TESTS}, output in {log}"):
            code = _run(folder, log, processes)
        failed |= code != 0
        verdict = "passed" if code == 0 else f"FAILED, see {log}"
        seconds = time.monotonic() - started
        console.print(f"{title}: {verdict} ({_counts(log)}; {seconds:.0f} s)")
    raise typer.Exit(failed)


def _run(folder: Path, log: Path, processes: int) -> int:
    """Run the tests with the programs of the folder, and return pytest's exit code."""
    with log.open("wb") as output:
        child = subprocess.Popen(
            [
                *(sys.executable, "-m", "pytest", "-q", "-rfEs", f"--numprocesses={processes}"),
                *("--dist=loadfile", "--no-loadscope-reorder", "-p", "no:cacheprovider", _TESTS),
            ],
            cwd=ROOT,
            env={**os.environ, CHOSEN_PROGRAMS: str(folder)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            return child.wait(_RUN_SECONDS)
        except subprocess.TimeoutExpired:
            return 1
        finally:
            # pytest ends its own processes on SIGTERM, and its guardian removes their files.
            child.terminate()
            try:
                child.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()


def _counts(log: Path) -> str:
    found = _COUNTS.findall(log.read_text(errors="replace"))
    return found[-1] if found else "no test ran"


if __name__ == "__main__":
    typer.run(main)
