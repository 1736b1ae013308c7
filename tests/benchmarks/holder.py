"""A process that holds an installation's snapshots and prints their costs.

Run it in two processes, without entries and with them. The difference is what the entries cost.
"""

import gc
import sys
import time
from collections.abc import Sequence
from functools import partial

import msgspec
import uvloop

from app.configuration.changes.authority import OPERATOR_AUTHORITY
from app.configuration.changes.models import Content, Kind, Operation
from app.configuration.changes.service import apply
from app.configuration.snapshots.follower import Follower
from app.database import Connection
from app.scripts import Resources, foreseen_errors, resources
from tests.benchmarks.memory import resident_bytes

ENVIRONMENT = "local"
_VALUE_BYTES = 1024


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """The costs of loading everything and of following each change."""

    entries: int
    cold_seconds: float
    resident_bytes: int
    changes_seconds: list[float]
    changes_cpu_seconds: list[float]


def operation(number: int, message: str = "") -> Operation:
    """Return a write of one entry of 1 KiB, shaped like flags and settings."""
    rules = [{"segment": f"segment-{n}", "weight": n, "enabled": n % 2 == 0} for n in range(12)]
    value = {"title": f"Entry {number}", "said": message, "rules": rules, "note": ""}
    value["note"] = "x" * (_VALUE_BYTES - len(msgspec.json.encode(value)))
    content = Content(kind=Kind.SETTING, value=value)
    return Operation(key=f"bench/entry-{number}", content=content, expected=None)


async def write(connection: Connection, operations: Sequence[Operation]) -> None:
    await apply(connection, ENVIRONMENT, operations, actor="bench", authority=OPERATOR_AUTHORITY)


async def _hold(given: Resources, changes: int) -> Held:
    follower = Follower(given.database)
    started = time.perf_counter()
    await follower.refresh()
    cold_seconds = time.perf_counter() - started
    gc.collect()
    resident = resident_bytes()

    wall, cpu = [], []
    for number in range(changes):
        await given.database.transact(partial(write, operations=[operation(number, "changed")]))
        started, cpu_started = time.perf_counter(), time.process_time()
        await follower.refresh()
        wall.append(time.perf_counter() - started)
        cpu.append(time.process_time() - cpu_started)
    return Held(
        entries=len(follower.get(ENVIRONMENT).entries),
        cold_seconds=cold_seconds,
        resident_bytes=resident,
        changes_seconds=wall,
        changes_cpu_seconds=cpu,
    )


async def _main() -> None:
    async with resources() as given:
        held = await _hold(given, int(sys.argv[1]))
    sys.stdout.buffer.write(msgspec.json.encode(held))


if __name__ == "__main__":
    with foreseen_errors():
        uvloop.run(_main())
