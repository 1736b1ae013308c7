"""A keep-alive connection with one request at a time. A client library would add its own cost."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass


@dataclass(frozen=True)
class Answer:
    head: bytes
    body: bytes

    @property
    def status(self) -> int:
        return int(self.head[9:12])

    def header(self, name: str) -> str:
        """Return a header's value. Raises StopIteration when there is none."""
        lowered = name.lower()
        lines = self.head.decode().split("\r\n")[1:]
        pairs = (line.partition(": ") for line in lines)
        return next(value for field, _, value in pairs if field.lower() == lowered)


def require_good(answer: Answer) -> None:
    """Raise RuntimeError for an answer that would falsify the figures."""
    if answer.status not in {200, 201}:
        raise RuntimeError(answer.body.decode())


class Connection:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def ask(self, request: bytes) -> Answer:
        """Send a request and return the answer, whose length is declared unless it has no body."""
        self._writer.write(request)
        head = (await self._reader.readuntil(b"\r\n\r\n"))[:-4]
        return Answer(head, await self._reader.readexactly(body_bytes(head)))


def body_bytes(head: bytes) -> int:
    """Return how many bytes follow the head of an answer."""
    _, separator, rest = head.lower().partition(b"content-length:")
    return int(rest.partition(b"\r\n")[0]) if separator else 0


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[Connection]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield Connection(reader, writer)
    finally:
        writer.close()
