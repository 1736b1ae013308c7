"""Clients that are slow, or say nothing, do not hold a socket for long."""

import asyncio
import socket
import time
from collections.abc import Callable

import psutil
import pytest
from aiohttp import ClientSession

from tests.process.conftest import Process, until

LIMITS = {
    "HEADER_TIMEOUT": "1",
    "BODY_TIMEOUT": "1",
    "IDLE_TIMEOUT": "2",
}


async def _held_seconds(process: Process, *pieces: bytes) -> tuple[float, bytes]:
    """Send the pieces, a fifth of a second apart, and return how long the socket stayed open."""
    reader, writer = await asyncio.open_connection("127.0.0.1", process.port)
    started = time.monotonic()
    received = asyncio.create_task(reader.read())
    try:
        for piece in pieces:
            if received.done():
                break
            writer.write(piece)
            await asyncio.sleep(0.2)
        answer = await asyncio.wait_for(received, 10)
    except ConnectionError:
        answer = b""
    finally:
        writer.close()
    return time.monotonic() - started, answer


@pytest.fixture
async def process(launch_beside: Callable[..., Process]) -> Process:
    process = launch_beside(**LIMITS)
    await process.start()
    await process.ready()
    return process


async def test_slow_sockets_are_closed_in_time(process: Process) -> None:
    head = (
        f"PUT /v1/environments/local/configurations/k HTTP/1.1\r\nHost: x\r\n"
        f"Authorization: Bearer {process.token}\r\nIf-None-Match: *\r\n"
        "Content-Type: application/json\r\nContent-Length: 100\r\n\r\n"
    ).encode()
    trickle = [b"X: y\r\n"] * 40

    silent, half_head, dripping, half_body, idle = await asyncio.gather(
        _held_seconds(process),
        _held_seconds(process, b"GET / HTTP/1.1\r\nHo"),
        _held_seconds(process, b"GET / HTTP/1.1\r\n", *trickle),
        _held_seconds(process, head, b'{"value":'),
        _held_seconds(process, b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n"),
    )

    assert silent[0] < 3
    assert half_head[0] < 3
    assert dripping[0] < 3
    assert half_body[0] < 5
    assert half_body[1].startswith(b"HTTP/1.1 408")
    assert 1.5 < idle[0] < 4
    assert idle[1].startswith(b"HTTP/1.1 200")
    assert await process.stop() == 0


async def test_a_slow_head_after_a_good_request_is_closed_too(process: Process) -> None:
    held, answer = await _held_seconds(
        process,
        b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /health/li",
        *[b"v"] * 30,
    )

    assert held < 3
    assert answer.count(b"HTTP/1.1 200") == 1
    assert await process.stop() == 0


async def test_a_client_that_does_not_read_its_answer_is_let_go(process: Process) -> None:
    async with ClientSession(headers=process.headers) as client:
        for n in range(20):
            await client.put(
                f"{process.url}/v1/environments/local/configurations/large/{n}",
                json={"value": "x" * 250_000},
                headers={"If-None-Match": "*"},
            )
    with socket.socket() as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.connect(("127.0.0.1", process.port))
        deaf.sendall(
            b"GET /v1/environments/local/configurations?prefix=large HTTP/1.1\r\nHost: x\r\n"
            b"Authorization: Bearer " + process.token.encode() + b"\r\n\r\n"
        )
        port = deaf.getsockname()[1]

        async def let_go() -> bool:
            connections = (
                psutil.Process(process.child.pid).net_connections() if process.child else []
            )
            return not any(getattr(each.raddr, "port", None) == port for each in connections)

        async def served() -> bool:
            return not await let_go()

        await until(served, 5)
        await until(let_go, 6)
    assert await process.stop() == 0


async def test_hundreds_of_slow_sockets_do_not_keep_others_out(process: Process) -> None:
    slow = [asyncio.create_task(_held_seconds(process, b"GET / HT")) for _ in range(300)]

    held, answer = await _held_seconds(
        process, b"GET /health/live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    )
    outcomes = await asyncio.gather(*slow)

    assert answer.startswith(b"HTTP/1.1 200")
    assert held < 1.5
    assert max(seconds for seconds, _ in outcomes) < 4
    assert await process.stop() == 0
