"""`make failover`: a switchover, a killed primary and zombie primaries under load."""

import asyncio
import os
import secrets
import shutil
import tempfile
import time
from collections import defaultdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from tests.failover import programs
from tests.failover.faults import KINDS, KINDS_BEHIND
from tests.failover.result import HEADINGS, Figures, row
from tests.failover.run import Mode, Round
from tests.guardian import guarded_folder

MODES = {
    "synchronous": Mode("synchronous", is_synchronous=True, is_behind=False, kinds=tuple(KINDS)),
    "asynchronous": Mode("asynchronous", is_synchronous=False, is_behind=False, kinds=tuple(KINDS)),
    "behind": Mode(
        "asynchronous, 1 s behind", is_synchronous=False, is_behind=True, kinds=KINDS_BEHIND
    ),
}


class ModeName(StrEnum):
    SYNCHRONOUS = "synchronous"
    ASYNCHRONOUS = "asynchronous"
    BEHIND = "behind"


def main(
    rounds: Annotated[int, typer.Option(help="How many rounds of each mode.")] = 3,
    mode: Annotated[list[ModeName] | None, typer.Option(help="Only these modes.")] = None,
    fault: Annotated[list[str] | None, typer.Option(help="Only these faults.")] = None,
) -> None:
    """Run faults of a PostgreSQL cluster under load, and print what clients see."""
    console = Console(highlight=False, soft_wrap=True)
    if unknown := set(fault or ()) - set(KINDS):
        console.print(f"unknown: {', '.join(unknown)}; known: {', '.join(KINDS)}")
        raise typer.Exit(2)
    try:
        with console.status("installing Patroni"):
            console.print(f"{programs.patroni_version()}, {programs.etcd()}")
        console.print(f"PostgreSQL of {programs.postgres_folder()}")
    except programs.MissingProgramError as error:
        console.print(str(error))
        raise typer.Exit(2) from None
    done: dict[tuple[str, str], list[Figures]] = defaultdict(list)
    is_broken = False
    try:
        with guarded_folder():
            for name in mode or list(ModeName):
                for number in range(1, rounds + 1):
                    round_ = _go(console, _chosen(MODES[name], fault), f"round {number}/{rounds}")
                    for each in round_.figures:
                        done[round_.mode.name, each.kind].append(each)
                    is_broken |= bool(round_.broken)
    except KeyboardInterrupt:
        console.print("interrupted; every process has ended")
        is_broken = True
    if done:
        for line in _table(done):
            console.print(line, markup=False)
    raise typer.Exit(is_broken)


def _chosen(mode: Mode, faults: list[str] | None) -> Mode:
    kinds = tuple(kind for kind in mode.kinds if not faults or kind in faults)
    return Mode(mode.name, mode.is_synchronous, mode.is_behind, kinds)


def _go(console: Console, mode: Mode, title: str) -> Round:
    round_ = Round(mode, secrets.token_hex(4))
    started = time.monotonic()

    def tell(event: str) -> None:
        console.print(f"{time.monotonic() - started:6.1f} s  {mode.name}, {title}: {event}")

    folder = Path(tempfile.mkdtemp(prefix="failover-"))
    folder.chmod(0o755)
    try:
        asyncio.run(round_.go(folder, tell))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    for each in round_.figures:
        cells = dict(zip(HEADINGS[3:], row(mode.name, [each])[3:], strict=True))
        tell(f"{each.kind}: " + ", ".join(f"{name} {value}" for name, value in cells.items()))
    for place, output in round_.reported.items():
        tell(f"/health of {place}: {output}")
    for broken in round_.broken:
        tell(f"BROKEN, saved in {os.path.relpath(round_.saved_in)}: {broken}")
    return round_


def _table(done: dict[tuple[str, str], list[Figures]]) -> list[str]:
    """Return the lines of the table, as Markdown."""
    rows = [row(mode, several) for (mode, _), several in done.items()]
    return [f"| {' | '.join(cells)} |" for cells in (HEADINGS, ["---"] * len(HEADINGS), *rows)]


if __name__ == "__main__":
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(main)
    app()
