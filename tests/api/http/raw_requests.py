"""Requests over a raw socket, and the answers as status line, headers and body."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from tests.waiting import HANG_SECONDS

END = b"GET /health/live HTTP/1.1\r\nHost: x\r\nX-Request-ID: end\r\nConnection: close\r\n\r\n"
_PAUSE_SECONDS = 0.005


@dataclass(frozen=True, kw_only=True)
class RawAnswer:
    status_line: bytes
    headers: list[tuple[str, str]]
    body: bytes

    @property
    def status(self) -> int:
        return int(self.status_line.split()[1])


class _Client(asyncio.Protocol):
    """A connection that stores all received bytes, also when the server resets it."""

    def __init__(self) -> None:
        self.received = b""
        self.is_closed = False
        self.change = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self.received += data
        self.change.set()

    def connection_lost(self, _: Exception | None) -> None:
        self.is_closed = True
        self.change.set()

    async def wait_for_answers(self, method: str, number: int) -> None:
        """Wait for this number of final answers, or until the connection is closed."""
        while not self.is_closed and self._count(method) < number:
            self.change.clear()
            await self.change.wait()

    def _count(self, method: str) -> int:
        return sum(answer.status >= 200 for answer in _parse(self.received, method))


async def exchange(
    url: str, parts: Sequence[bytes], *, method: str = "GET", is_pipelined: bool = True
) -> list[RawAnswer]:
    """Send the parts one after the other, then `END` after the first answer. Return all answers.

    Unless `is_pipelined`, each part is a request, and the next one is sent after its answer.
    """
    host, port = url.removeprefix("http://").split(":")
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(HANG_SECONDS):
        _, client = await loop.create_connection(_Client, host, int(port))
        for number, part in enumerate(parts, 1):
            client.transport.write(part)
            if not is_pipelined:
                await client.wait_for_answers(method, number)
            # Then the parts do not arrive together.
            await asyncio.sleep(_PAUSE_SECONDS)
        await client.wait_for_answers(method, 1)
        client.transport.write(END)
        while not client.is_closed:
            client.change.clear()
            await client.change.wait()
    return _parse(client.received, method)


def _parse(received: bytes, method: str) -> list[RawAnswer]:
    """Return the complete answers to requests of one method, before that to `END`."""
    answers = []
    while b"\r\n\r\n" in received:
        head, _, received = received.partition(b"\r\n\r\n")
        status_line, *lines = head.split(b"\r\n")
        pairs = [line.decode("latin-1").partition(": ") for line in lines]
        headers = [(name.lower(), value) for name, _, value in pairs]
        answers_end = ("x-request-id", "end") in headers
        has_body = (method != "HEAD" or answers_end) and int(status_line.split()[1]) != 304
        size = int(dict(headers).get("content-length", 0)) if has_body else 0
        if len(received) < size:
            break
        answers.append(RawAnswer(status_line=status_line, headers=headers, body=received[:size]))
        received = received[size:]
    return answers
