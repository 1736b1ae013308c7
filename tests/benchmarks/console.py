"""Measure the pages of the console: the server's time, and how long it holds the event loop.

A probe asks for /health/live all the while. Its longest wait is the longest stall of the loop, and
a stall of the machine counts too: run it on a quiet one.
"""

import asyncio
import statistics
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
from rich.progress import Progress

from app.configuration.changes.authority import OPERATOR_AUTHORITY
from app.configuration.changes.models import Content, Kind, Operation
from app.configuration.changes.service import apply
from app.database import Connection
from app.database.targets import open_database
from app.settings import load
from tests.benchmarks.connection import connected, require_good
from tests.benchmarks.figures import Figure, milliseconds, percentile
from tests.benchmarks.processes import LOCAL, Service, data_folder, service

SIZES = (1_000, 5_000)
_ENVIRONMENTS = ("local", "development", "staging", "production")
_REQUESTS = 60
_WARM_UP = 3
_CONSOLE = "/console/environments/local"
_KEY = "checkout/flag-7"
_GROUPS = ("checkout", "search", "mobile", "home", "reports")


async def measure(progress: Progress) -> list[Figure]:
    """Measure each page with 1,000 and with 5,000 flags in four environments."""
    figures: list[Figure] = []
    for flags in SIZES:
        with data_folder() as folder:
            with service(folder):
                await _fill(folder, flags)
            with service(folder) as served:
                cases = await _cases(served)
                task = progress.add_task(f"console: {flags:,} flags", total=len(cases))
                for name, request in cases.items():
                    figures += await _measured(served, f"{name}, 4 x {flags:,}", request)
                    progress.advance(task)
    return figures


async def _cases(served: Service) -> Mapping[str, bytes]:
    cookie = await sign_in(served)

    def asked(path: str, headers: str = "") -> bytes:
        head = f"GET {_CONSOLE}{path} HTTP/1.1\r\nHost: x\r\nCookie: {cookie}\r\n{headers}\r\n"
        return head.encode()

    draft = msgspec.json.encode({"changes": {_KEY: {"kind": "flag", "value": _definition(7, 40)}}})
    return {
        "flag list": asked("/flags"),
        "flag list, search": asked("/flags?q=flag-77", "HX-Request: true\r\n"),
        "flag page": asked(f"/flags/{_KEY}"),
        "changes": asked("/changes"),
        "palette": asked("/palette?q=chkt7"),
        "preview of 10,000 keys": served.request("POST", f"{LOCAL}/preview", body=draft),
    }


async def sign_in(served: Service) -> str:
    """Return the cookie of a new session."""
    form = f"token={served.token}".encode()
    head = (
        "POST /console/sign-in HTTP/1.1\r\nHost: x\r\nSec-Fetch-Site: same-origin\r\n"
        f"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {len(form)}\r\n\r\n"
    )
    async with connected(served.port) as connection:
        answer = await connection.ask(head.encode() + form)
    return answer.header("Set-Cookie").partition(";")[0]


async def _measured(served: Service, name: str, request: bytes) -> list[Figure]:
    seconds: list[float] = []
    async with connected(served.port) as connection:
        answer = await connection.ask(request)
        require_good(answer)
        for _ in range(_WARM_UP):
            await connection.ask(request)
        async with probing(served.port) as waits:
            for _ in range(_REQUESTS):
                started = time.perf_counter()
                await connection.ask(request)
                seconds.append(time.perf_counter() - started)
                # So that a probe waits for one request at most.
                await asyncio.sleep(0.01)
    return [
        Figure(
            case=name,
            value=percentile(seconds, 0.95) * 1000,
            unit="ms, p95",
            detail=f"{milliseconds(seconds)}, {len(answer.body) / 1000:.0f} kB",
        ),
        Figure(
            case=name,
            value=max(waits) * 1000,
            unit="ms, longest stall",
            detail=f"median of {len(waits)} probes: {statistics.median(waits) * 1000:.2f} ms",
        ),
    ]


@asynccontextmanager
async def probing(port: int) -> AsyncIterator[list[float]]:
    """Yield the times of requests that cost nothing, sent one after another meanwhile."""
    waits: list[float] = []

    async def probe() -> None:
        async with connected(port) as connection:
            while True:
                started = time.perf_counter()
                await connection.ask(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n")
                waits.append(time.perf_counter() - started)
                await asyncio.sleep(0.001)

    probing = asyncio.create_task(probe())
    try:
        yield waits
    finally:
        probing.cancel()
        await asyncio.wait([probing])


async def _fill(folder: Path, flags: int) -> None:
    async with open_database(load({"DATA_DIR": str(folder)})) as database:
        for environment in _ENVIRONMENTS:
            operations = [_operation(number) for number in range(flags)]
            await database.transact(partial(_write, environment, operations))


async def _write(environment: str, operations: list[Operation], connection: Connection) -> None:
    await apply(connection, environment, operations, actor="bench", authority=OPERATOR_AUTHORITY)


def _operation(number: int) -> Operation:
    content = Content(
        kind=Kind.FLAG, value=_definition(number, number % 101), description=f"Flag {number}."
    )
    group = _GROUPS[0] if number == 7 else _GROUPS[number % len(_GROUPS)]
    return Operation(key=f"{group}/flag-{number}", content=content, expected=None)


def _definition(number: int, share: int) -> dict[str, Any]:
    """Return a flag with a condition and a split."""
    split = {"fractional": [["on", share], ["off", 100 - share]]}
    condition = {"in": [{"var": "country"}, ["CH", "AT", "DE"]]}
    return {
        "state": "ENABLED",
        "variants": {"on": True, "off": False},
        "defaultVariant": "off",
        "targeting": {"if": [condition, "on", split]} if number % 3 else split,
        "owner": "payments",
    }
