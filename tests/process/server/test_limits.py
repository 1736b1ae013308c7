"""Slow and silent clients are disconnected after a limit."""

import asyncio
import itertools
import socket
from collections.abc import Callable

import psutil
import pytest
from aiohttp import ClientSession

from tests.process.conftest import Process
from tests.waiting import HANG_SECONDS, until

LIMITS = {
    "HEADER_TIMEOUT": "1",
    "BODY_TIMEOUT": "1",
    "IDLE_TIMEOUT": "2",
}


async def _read_until_closed(process: Process, *pieces: bytes, drip: bytes = b"") -> bytes:
    """Send the pieces, then the drip every 0.2 s, until the server closes the connection."""
    first, *others = pieces or (drip,)
    connection = socket.create_connection(("127.0.0.1", process.port))
    # At once: the server's time for a head begins when it accepts.
    connection.sendall(first)
    reader, writer = await asyncio.open_connection(sock=connection)
    received = asyncio.create_task(reader.read())
    try:
        async with asyncio.timeout(HANG_SECONDS):
            for piece in itertools.chain(others, itertools.repeat(drip)):
                await asyncio.sleep(0.2)
                if received.done():
                    break
                writer.write(piece)
        return await received
    except ConnectionError:
        return b""
    finally:
        writer.close()


@pytest.fixture
async def process(launch_beside: Callable[..., Process]) -> Process:
    process = launch_beside(**LIMITS)
    await process.start()
    await process.ready()
    return process


@pytest.mark.slow
async def test_slow_sockets_are_closed_in_time(process: Process) -> None:
    head = (
        f"PUT /v1/environments/local/configurations/k HTTP/1.1\r\nHost: x\r\n"
        f"Authorization: Bearer {process.token}\r\nIf-None-Match: *\r\n"
        "Content-Type: application/json\r\nContent-Length: 100\r\n\r\n"
    ).encode()

    silent, half_head, dripping, half_body, idle = await asyncio.gather(
        _read_until_closed(process),
        _read_until_closed(process, b"GET / HTTP/1.1\r\nHo"),
        _read_until_closed(process, b"GET / HTTP/1.1\r\n", drip=b"X: y\r\n"),
        _read_until_closed(process, head, b'{"value":'),
        _read_until_closed(process, b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n"),
    )

    assert (silent, half_head, dripping) == (b"", b"", b"")
    assert half_body.startswith(b"HTTP/1.1 408")
    assert idle.startswith(b"HTTP/1.1 200")
    assert await process.stop() == 0


@pytest.mark.slow
async def test_slow_head_after_a_valid_request_is_closed(process: Process) -> None:
    answer = await _read_until_closed(
        process,
        b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /health/li",
        drip=b"v",
    )

    assert answer.count(b"HTTP/1.1 200") == 1
    assert await process.stop() == 0


@pytest.mark.slow
async def test_client_that_does_not_read_is_disconnected(process: Process) -> None:
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
            return not any(
                getattr(connection.raddr, "port", None) == port for connection in connections
            )

        deaf.settimeout(HANG_SECONDS)
        assert await asyncio.to_thread(deaf.recv, 1) == b"H"
        await until(let_go)
    assert await process.stop() == 0


@pytest.mark.slow
async def test_hundreds_of_slow_sockets_do_not_keep_others_out(process: Process) -> None:
    slow = [asyncio.create_task(_read_until_closed(process, b"GET / HT")) for _ in range(300)]

    answer = await _read_until_closed(
        process, b"GET /health/live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    )
    answers = await asyncio.gather(*slow)

    assert answer.startswith(b"HTTP/1.1 200")
    assert set(answers) == {b""}
    assert await process.stop() == 0
