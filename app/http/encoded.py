"""Answers whose head and body are encoded in advance.

aiohttp builds and serializes a mapping of headers for each answer, which takes longer than finding
the entry. Snapshots store most of the head as bytes. A small answer is one write. The parts of a
large one are written without joining them, since each copy of it would take as long as the kernel.
"""

import asyncio
from collections.abc import Sequence
from http import HTTPStatus

from aiohttp import HttpVersion10, hdrs, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.helpers import rfc822_formatted_time
from multidict import CIMultiDict

from app.http.keys import COMMON_HEAD, REQUEST_ID

# Up to this size, a copy takes less time than a write of several buffers.
_COPIED_BYTES_MAX = 32 * 1024
_NO_HEADERS: CIMultiDict[str] = CIMultiDict()
_STATUS_LINES: dict[int, bytes] = {
    status: f"HTTP/1.1 {status:d} {status.phrase}\r\n".encode() for status in HTTPStatus
}


class EncodedResponse(web.Response):
    """An answer that is written as bytes.

    `body` may be in parts. `head` has the header lines of this answer; COMMON_HEAD has those of
    every answer. It has no `headers`, and `on_response_prepare` does not run.
    """

    def __init__(self, body: bytes | Sequence[bytes], head: bytes, *, status: int = 200) -> None:
        # super().__init__() would take a sixth of the time of an answer.
        self._state = {}
        self._headers = _NO_HEADERS
        self._status = status
        self._reason = ""
        self.parts = (body,) if isinstance(body, bytes) else body
        self._body_length = sum(map(len, self.parts))
        self._head = head

    @property
    def head(self) -> bytes:
        return self._head

    async def prepare(  # type: ignore[override]  # handlers get a Request
        self, request: web.Request
    ) -> AbstractStreamWriter | None:
        if self._payload_writer is not None:
            return self._payload_writer
        self._req = request
        self._payload_writer = writer = request.writer
        first, rest = self.encode(request, self._connection(request))
        await writer.write(first)
        transport = request.transport
        if rest and transport is not None:
            transport.writelines(rest)
            await writer.drain()
        return writer

    def send(self, request: web.Request, transport: asyncio.WriteTransport) -> None:
        """Write the answer to a request over a usual connection, without waiting."""
        first, rest = self.encode(request)
        transport.write(first)
        if rest:
            transport.writelines(rest)

    def encode(
        self, request: web.Request, connection: bytes = b""
    ) -> tuple[bytes, Sequence[bytes]]:
        """Return the head with a small body, and the parts of a large body.

        `connection` is a header line, empty for a usual connection.
        """
        head = (
            _STATUS_LINES[self._status],
            request.app[COMMON_HEAD],
            f"Date: {rfc822_formatted_time()}\r\nX-Request-ID: {request[REQUEST_ID]}\r\n".encode(),
            self._head,
            connection,
            b"\r\n",
        )
        if request.method == hdrs.METH_HEAD:
            return b"".join(head), ()
        if self._body_length <= _COPIED_BYTES_MAX:
            return b"".join((*head, *self.parts)), ()
        return b"".join(head), self.parts

    async def write_eof(self, data: bytes = b"") -> None:
        del data
        self._eof_sent = True

    def _connection(self, request: web.Request) -> bytes:
        keep_alive = request.keep_alive if self._keep_alive is None else self._keep_alive
        self._keep_alive = keep_alive
        if not keep_alive:
            return b"Connection: close\r\n"
        return b"Connection: keep-alive\r\n" if request.version == HttpVersion10 else b""


def encoded(
    body: bytes, content_type: str, head: bytes = b"", *, status: int = 200
) -> EncodedResponse:
    """Return an answer with a body; `head` has its additional header lines."""
    lines = b"Content-Type: %b\r\nContent-Length: %d\r\n%b"
    return EncodedResponse(body, lines % (content_type.encode(), len(body), head), status=status)
