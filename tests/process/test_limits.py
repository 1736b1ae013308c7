"""Clients that are slow, or say nothing, do not hold a socket for long."""

import asyncio
import time
from collections.abc import Callable

import pytest

from tests.process.conftest import Process

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
async def process(launch: Callable[..., Process]) -> Process:
    process = launch(**LIMITS)
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
