"""`make bench`: measure the service on this machine and compare it with its goals."""

import logging
import os
import sys
import traceback
from collections.abc import Callable, Coroutine, Mapping, Sequence
from enum import StrEnum, auto
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
import uvloop
from rich.console import Console
from rich.progress import Progress, TimeElapsedColumn

from app import log
from tests.benchmarks import (
    access,
    backups,
    changes,
    churn,
    console,
    evaluation,
    footprint,
    large,
    ofrep,
    past,
    peers,
    puts,
    relays,
    requests,
    sealing,
    sizes,
    streams,
    sync,
    writes,
)
from tests.benchmarks.figures import Figure
from tests.benchmarks.results import NotMeasurable, Results, table, unmeasured
from tests.guardian import guarded_folder


class Part(StrEnum):
    OFREP = auto()
    REQUESTS = auto()
    PUTS = auto()
    CHANGES = auto()
    STREAMS = auto()
    SYNC = auto()
    RELAYS = auto()
    FAN_OUT = auto()
    CHURN = auto()
    PAST = auto()
    LARGE = auto()
    FOOTPRINT = auto()
    WRITES = auto()
    SIZES = auto()
    EVALUATION = auto()
    ACCESS = auto()
    SEALING = auto()
    BACKUPS = auto()
    CONSOLE = auto()
    PEERS = auto()


_MEASURES: Mapping[Part, Callable[[Progress], Coroutine[Any, Any, Sequence[Figure]]]] = {
    Part.OFREP: ofrep.measure,
    Part.REQUESTS: requests.measure,
    Part.PUTS: puts.measure,
    Part.CHANGES: changes.measure,
    Part.STREAMS: streams.measure,
    Part.SYNC: sync.measure,
    Part.RELAYS: relays.measure,
    Part.FAN_OUT: relays.measure_fan_out,
    Part.CHURN: churn.measure,
    Part.PAST: past.measure,
    Part.LARGE: large.measure,
    Part.FOOTPRINT: footprint.measure,
    Part.WRITES: writes.measure,
    Part.SIZES: sizes.measure,
    Part.EVALUATION: evaluation.measure,
    Part.ACCESS: access.measure,
    Part.SEALING: sealing.measure,
    Part.BACKUPS: backups.measure,
    Part.CONSOLE: console.measure,
    Part.PEERS: peers.measure,
}

# Peers need npm and its registry, and the fan-out 20 relays.
_DEFAULT = [part for part in Part if part not in {Part.PEERS, Part.FAN_OUT}]


def main(
    parts: Annotated[
        list[Part] | None, typer.Argument(help="All but peers and fan_out, unless named.")
    ] = None,
    *,
    twice: Annotated[bool, typer.Option("--twice", help="Run twice, and show the noise.")] = False,
    json: Annotated[Path | None, typer.Option(help="Write the figures to this file.")] = None,
) -> None:
    """Measure each part and show its figures beside their goals."""
    log.configure(logging.ERROR, "console")
    # Wide enough for the table in a log.
    console = Console(width=None if sys.stdout.isatty() else 150)
    columns = (*Progress.get_default_columns(), TimeElapsedColumn())
    results = Results()
    # On a disk: the cost of a write includes its flush.
    with (
        guarded_folder(in_memory=False),
        Progress(*columns, console=console, transient=True) as progress,
    ):
        for _ in range(2 if twice else 1):
            for part in parts or _DEFAULT:
                _run(part, results, progress)
    results.load_average = os.getloadavg()[0]
    if results.parts:
        console.print(table(results))
    if json is not None:
        json.write_bytes(msgspec.json.format(msgspec.json.encode(results), indent=1))
    for problem in (*results.failures, *unmeasured(results)):
        console.print(f"[red]{problem}", highlight=False)
    sys.exit(1 if results.failures else 0)


def _run(part: Part, results: Results, progress: Progress) -> None:
    """Add the figures of a part, or its failure."""
    try:
        # Each part has its own event loop, free of earlier work.
        results.add(part, uvloop.run(_MEASURES[part](progress)))
    except NotMeasurable as error:
        results.failures.append(f"{part}: {error}")
    except Exception as error:  # noqa: BLE001 - the other parts can still be measured
        traceback.print_exc()
        results.failures.append(f"{part} failed: {error}")


if __name__ == "__main__":
    typer.run(main)
