"""`make bench`: measure the service on this machine and compare it with targets."""

import sys
from collections.abc import Callable, Coroutine, Mapping, Sequence
from enum import StrEnum, auto
from typing import Annotated, Any

import typer
import uvloop
from rich.console import Console
from rich.progress import Progress, TimeElapsedColumn

from tests.benchmarks import (
    access,
    audit,
    backups,
    changes,
    console,
    evaluation,
    ofrep,
    requests,
    sealing,
    sizes,
    streams,
    writes,
)
from tests.benchmarks.figures import Figure, table


class Part(StrEnum):
    ACCESS = auto()
    REQUESTS = auto()
    OFREP = auto()
    CHANGES = auto()
    WRITES = auto()
    STREAMS = auto()
    SIZES = auto()
    EVALUATION = auto()
    SEALING = auto()
    AUDIT = auto()
    BACKUPS = auto()
    CONSOLE = auto()


_MEASURES: Mapping[Part, Callable[[Progress], Coroutine[Any, Any, Sequence[Figure]]]] = {
    Part.ACCESS: access.measure,
    Part.REQUESTS: requests.measure,
    Part.OFREP: ofrep.measure,
    Part.CHANGES: changes.measure,
    Part.WRITES: writes.measure,
    Part.STREAMS: streams.measure,
    Part.SIZES: sizes.measure,
    Part.EVALUATION: evaluation.measure,
    Part.SEALING: sealing.measure,
    Part.BACKUPS: backups.measure,
    Part.AUDIT: audit.measure,
    Part.CONSOLE: console.measure,
}


def main(
    parts: Annotated[list[Part] | None, typer.Argument(help="All of them, unless named.")] = None,
) -> None:
    """Measure each part and show its figures beside their targets."""
    # Wide enough for the table in a log.
    console = Console(width=None if sys.stdout.isatty() else 150)
    columns = (*Progress.get_default_columns(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        # Each part has its own event loop, free of earlier work.
        figures: dict[str, Sequence[Figure]] = {
            part: uvloop.run(_MEASURES[part](progress)) for part in parts or Part
        }
    console.print(table(figures))


if __name__ == "__main__":
    typer.run(main)
