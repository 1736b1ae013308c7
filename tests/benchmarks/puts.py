"""Measure writes over HTTP: one entry, and a segment that many flags use.

The processor time includes PostgreSQL's, which shares a core with the service.
"""

import itertools
import time
from collections.abc import Callable
from typing import Any

import msgspec
from rich.progress import Progress

from app.configuration.changes.models import Content, Kind, Operation
from tests.benchmarks.cases import Case, measured
from tests.benchmarks.connection import connected, require_good
from tests.benchmarks.figures import PROCESSOR, Figure, latencies
from tests.benchmarks.flags import fill, flags
from tests.benchmarks.processes import Service, data_folder, service

_ENVIRONMENT = "puts"
_VALUES = 1_900
_FLAGS = 100
_ROUNDS = 3
_CHANGES = 20
_SEGMENT = "bench/segment"


async def measure(progress: Progress) -> list[Figure]:
    """Measure writes of 16 clients, of one, and of the segment."""
    with data_folder() as folder:
        used = flags(_FLAGS, lambda _: {"if": [{"$ref": _SEGMENT}, "on", "off"]})
        await fill(folder, {_ENVIRONMENT: [_segment(), *used]})
        with service(folder) as served:
            make = new_entries(served)
            cases = {
                f"PUT one entry, {name}": Case(
                    server=served, make=make, status=201, connections=connections
                )
                for name, connections in (("16 at once", 16), ("alone", 1))
            }
            figures = await measured("puts", cases, progress)
            return figures + await _segment_puts(served, progress)


def new_entries(served: Service) -> Callable[[], bytes]:
    """Return a function that makes the next write, to a new key each time."""
    numbers = itertools.count()
    body = b'{"value": {"retries": 3, "currencies": ["EUR", "USD"]}}'
    return lambda: served.put(f"bench/{next(numbers)}", body)


async def _segment_puts(served: Service, progress: Progress) -> list[Figure]:
    rounds: list[list[float]] = [[] for _ in range(_ROUNDS)]
    task = progress.add_task("puts: segment", total=_ROUNDS * _CHANGES)
    versions = itertools.count(1)
    before = served.processor_time()
    async with connected(served.port) as connection:
        for seconds in rounds:
            for version in itertools.islice(versions, _CHANGES):
                body = {"kind": "segment", "value": _rule(version)}
                request = served.put(_SEGMENT, msgspec.json.encode(body), version, _ENVIRONMENT)
                started = time.perf_counter()
                require_good(await connection.ask(request))
                seconds.append(time.perf_counter() - started)
                progress.advance(task)
    used = served.processor_time().since(before)
    case = "PUT a segment of 1,900 values"
    each = (used.service + used.database) / (_ROUNDS * _CHANGES) * 1e6
    return [Figure(case=case, unit=PROCESSOR, value=each), *latencies(case, rounds)]


def _segment() -> Operation:
    return Operation(
        key=_SEGMENT, content=Content(kind=Kind.SEGMENT, value=_rule(0)), expected=None
    )


def _rule(version: int) -> dict[str, Any]:
    """Return a list of users. The last one depends on the version."""
    users = [f"user-{number}" for number in range(_VALUES - 1)]
    return {"in": [{"var": "targetingKey"}, [*users, f"version-{version}"]]}
