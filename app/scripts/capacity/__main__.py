"""Print how many processes, cores, memory and connections a load needs.

    python -m app.scripts.capacity --requests 1000 --streams 100000 --flags 1000 --changes 0.1

With --svg FILE it draws the curve up to a million streams instead. Needs no database.
"""

import argparse
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from app.scripts import foreseen_errors
from app.scripts.capacity import curve, measured
from app.scripts.capacity.model import BUSY_MAX, Load, Plan, plan
from app.scripts.capacity.spread import Spread, simulate


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the plan, or write the picture. Raises CapacityError, OSError."""
    options = _parser().parse_args(arguments)
    constants = measured.load()
    if options.svg is not None:
        options.svg.write_text(curve.draw(constants))
        return
    load = Load(
        requests=options.requests,
        streams=options.streams,
        flags=options.flags,
        changes=options.changes,
        bulk=options.bulk,
        refetch=options.refetch,
        replicas=options.replicas,
        fan_out=options.fan_out,
        pool_max=options.pool_max,
    )
    made = plan(load, constants)
    print("\n".join(_text(made, simulate(made, constants))))  # noqa: T201


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m app.scripts.capacity", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter

    def add(name: str, kind: Callable[[str], float], default: float, text: str) -> None:
        parser.add_argument(name, type=kind, default=default, help=f"{text}; default: {default:,}")

    add("--requests", _number(0, 1e9), 1_000, "evaluations per second")
    add("--bulk", _number(0, 1), 0, "share of these that evaluate all flags, 0 to 1")
    add("--streams", _whole(0, 100_000_000), 1_000, "open event streams of clients")
    add("--flags", _whole(1, 1_000_000), 100, "flags in all environments")
    add("--changes", _number(0, 1e6), 0.01, "changes per second")
    add(
        "--refetch", _number(0, 1), 1, "share of the clients that evaluate all flags after an event"
    )
    add("--replicas", _whole(1, 1_000), 2, "least number of processes of the service")
    add("--fan-out", _whole(0, 1_000_000), 5_000, "most streams of a process; 0: no relays")
    add("--pool-max", _whole(1, 500), 10, "DATABASE_POOL_MAX")
    parser.add_argument("--svg", type=Path, metavar="FILE", help="draw the curve into this file")
    return parser


def _number(least: float, most: float) -> Callable[[str], float]:
    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"must be a number from {least:,g} to {most:,g}")
        return value

    return parse


def _whole(least: int, most: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not (text.isascii() and text.isdecimal()) or not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"must be a whole number from {least:,} to {most:,}")
        return int(text)

    return parse


def _text(made: Plan, spread: Spread) -> Iterator[str]:
    load = made.load
    yield (
        f"Load: {load.requests:,g} requests/s, {load.streams:,} streams, "
        f"{load.flags:,} flags, {load.changes:g} changes/s"
    )
    yield ""
    yield _row("tier", "processes", "streams each", "cores busy", "GiB", "decided by")
    for tier in made.tiers:
        yield _row(
            tier.name,
            f"{tier.processes:,}",
            f"{tier.streams_each:,}",
            f"{tier.cores:,.2f}",
            f"{tier.memory_mib / 1024:,.2f}",
            tier.bound,
        )
    yield _row("writes", "", "", f"{made.write_cores:,.2f}", "", "PostgreSQL and the service")
    yield _row(
        "total",
        f"{made.processes:,}",
        "",
        f"{made.cores:,.2f}",
        f"{made.memory_mib / 1024:,.2f}",
        "",
    )
    yield ""
    yield (
        f"Run {made.tiers[0].processes:,} processes of the service. PostgreSQL gets at most "
        f"{made.connections:,} connections from them: set max_connections to at least "
        f"{made.connections / 0.8:,.0f}."
    )
    for tier in made.tiers[1:]:
        yield (
            f"Run {tier.processes:,} {tier.name}, each with {tier.streams_each:,} streams and one "
            "stream to its upstream. They need no connection to PostgreSQL."
        )
    yield f"Each process has one core, and is busy for at most {100 * BUSY_MAX:.0f} % of the time."
    if load.streams:
        yield (
            f"A change reaches half of the clients in {spread.half_ms:,.0f} ms, 99 % in "
            f"{spread.p99_ms:,.0f} ms, and the last one in {spread.last_ms:,.0f} ms, without the "
            "network."
        )


def _row(*cells: str) -> str:
    tier, *numbers, bound = cells
    widths = (10, 14, 12, 9)
    columns = (f"{number:>{width}}" for number, width in zip(numbers, widths, strict=True))
    return f"{tier:<17}{''.join(columns)}  {bound}".rstrip()


if __name__ == "__main__":
    with foreseen_errors():
        main()
