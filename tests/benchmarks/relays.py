"""Measure a relay of a relay: the time until it serves a change, and the memory of a relay.

Other processes delay a few changes at a time, so the high percentile of the median round counts.
"""

import asyncio
import itertools
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil
from rich.progress import Progress

from tests.benchmarks.connection import Connection, connected, require_good
from tests.benchmarks.figures import Figure, latencies
from tests.benchmarks.flags import fill, flags, half_splits
from tests.benchmarks.memory import MIB
from tests.benchmarks.processes import LOCAL, Service, data_folder, instance, service
from tests.benchmarks.streams import listening, tell_all

ROUNDS = 5
CHANGES = 60
_FLAGS = 10_000
_LOOK_SECONDS = 0.0005
_REST_SECONDS = 0.01
_SETTLE_SECONDS = 4.0
_KEY = "bench/relay"
_RELAYS = 20
_STREAMS = 500
_FAN_OUT_CHANGES = 20
_FAN_OUT_REST_SECONDS = 0.5
MEMORY = "of a replica"


async def measure(progress: Progress) -> list[Figure]:
    """Measure from sending a write until the second relay has answered a read with it."""
    task = progress.add_task("relays: spread", total=ROUNDS * CHANGES)
    rounds: list[list[float]] = [[] for _ in range(ROUNDS)]
    with data_folder() as folder:
        await fill(folder, {"bench": flags(_FLAGS, half_splits)})
        with ExitStack() as stack:
            core = stack.enter_context(service(folder))
            replica = stack.enter_context(service(folder))
            token = await _relay_token(core)
            first = stack.enter_context(_relay(folder / "1", core, token))
            second = stack.enter_context(_relay(folder / "2", first, token))
            async with connected(core.port) as writer, connected(second.port) as reader:
                versions = itertools.count()
                await _spread(core, writer, second, reader, next(versions))
                for seconds in rounds:
                    for version in itertools.islice(versions, CHANGES):
                        seconds.append(await _spread(core, writer, second, reader, version))
                        progress.advance(task)
                        await asyncio.sleep(_REST_SECONDS)
            await asyncio.sleep(_SETTLE_SECONDS)
            memory = {each: _private_bytes(each.pid) for each in (replica, first, second)}
    return [
        *latencies("PUT until a relay of a relay serves it", rounds),
        Figure(
            case=f"memory of a relay, {_FLAGS:,} flags",
            value=memory[first] / memory[replica],
            unit=MEMORY,
            detail=f"{memory[first] / MIB:.0f} MiB, a replica {memory[replica] / MIB:.0f} MiB",
        ),
    ]


async def measure_fan_out(progress: Progress) -> list[Figure]:
    """Measure from sending a write until every stream of every relay has its event."""
    task = progress.add_task("fan_out: start", total=_RELAYS)
    versions = itertools.count()
    with data_folder() as folder, ExitStack() as stack:
        core = stack.enter_context(service(folder))
        token = await _relay_token(core)
        relays = []
        for number in range(_RELAYS):
            relays.append(stack.enter_context(_relay(folder / str(number), core, token)))
            progress.advance(task)
        # The writer last: an instance closes connections that are idle for long.
        async with listening(relays, _STREAMS) as room, connected(core.port) as writer:
            seconds = [await tell_all(core, writer, room, version=next(versions))]
            before = [each.processor_time().service for each in (core, relays[0])]
            for version in itertools.islice(versions, _FAN_OUT_CHANGES):
                seconds.append(await tell_all(core, writer, room, version))
                await asyncio.sleep(_FAN_OUT_REST_SECONDS)
            after = [each.processor_time().service for each in (core, relays[0])]
            memory = [_private_bytes(each.pid) / MIB for each in (core, relays[0])]
    spent = [(a - b) / _FAN_OUT_CHANGES * 1000 for a, b in zip(after, before, strict=True)]
    name = f"PUT until {_RELAYS} relays' {_RELAYS * _STREAMS:,} streams have it"
    return [
        *latencies(name, [seconds[1:]]),
        *(
            Figure(case=f"{of}, one change", unit="ms of processor", value=value)
            for of, value in zip(("service", f"relay of {_STREAMS} streams"), spent, strict=True)
        ),
        *(
            Figure(case=f"{of}, memory", unit="MiB", value=value)
            for of, value in zip(("service", f"relay of {_STREAMS} streams"), memory, strict=True)
        ),
    ]


async def _relay_token(core: Service) -> str:
    body = b'{"name":"bench","scopes":["relay"],"environments":["*"]}'
    async with connected(core.port) as connection:
        answer = await connection.ask(core.request("POST", "/v1/tokens", body=body))
    require_good(answer)
    return answer.body.split(b'"text":"')[1].split(b'"')[0].decode()


@contextmanager
def _relay(folder: Path, upstream: Service, token: str) -> Iterator[Service]:
    """Run a relay. It accepts the administrator's token of the service."""
    folder.mkdir()
    variables = {
        "RELAY_UPSTREAM": f"http://127.0.0.1:{upstream.port}",
        "RELAY_TOKEN": token,
    }
    with instance(folder, "app", "relay", **variables) as server:
        yield Service(port=server.port, pid=server.pid, token=upstream.token)


async def _spread(
    core: Service, writer: Connection, relay: Service, reader: Connection, version: int
) -> float:
    """Write the version after the given one; return the seconds until the relay serves it."""
    request = core.put(_KEY, b'{"value": "a change"}', version)
    started = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        writing = group.create_task(writer.ask(request))
        seeing = group.create_task(_seen(relay, reader, version + 1))
    require_good(writing.result())
    return seeing.result() - started


async def _seen(relay: Service, reader: Connection, version: int) -> float:
    """Read until the version is served, and return the time."""
    request = relay.request("GET", f"{LOCAL}/configurations/{_KEY}")
    expected = b'"version":%d,' % version
    async with asyncio.timeout(10):
        while True:
            answer = await reader.ask(request)
            if expected in answer.body:
                return time.perf_counter()
            await asyncio.sleep(_LOOK_SECONDS)


def _private_bytes(pid: int) -> int:
    """Return the bytes that only this process uses."""
    return int(psutil.Process(pid).memory_full_info().uss)
