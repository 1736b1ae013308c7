"""A client of the HTTP API, for commands: bounded waits and answers, and errors in words.

It follows no redirect, because a redirect would send the token to another server. It repeats a
request after a lost connection or a 503. That is safe: a write has an Idempotency-Key.
"""

import asyncio
import secrets
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from http import HTTPStatus
from types import TracebackType
from typing import Any, NamedTuple, Protocol, Self, TypeVar
from urllib.parse import urlencode

import aiohttp
import msgspec
from yarl import URL

from app import VERSION
from app.cli.backend.http_errors import ServerError, not_flagstone, of_client, of_problem
from app.cli.protected_writes import ProposedError, is_proposed
from app.cli.server_options import Server
from app.configuration.proposals.views import ProposalView

Answer = TypeVar("Answer")


class _Page(Protocol):
    @property
    def next(self) -> str | None: ...


AnyPage = TypeVar("AnyPage", bound=_Page)

CONNECT_SECONDS = 10.0
# The server limits a write to 20 s. A large export takes longer over a slow line.
ANSWER_SECONDS = 120.0
_ANSWER_TIMEOUT = aiohttp.ClientTimeout(total=ANSWER_SECONDS, sock_connect=CONNECT_SECONDS)
# A server limits an upload of a list to an hour.
_STREAM_TIMEOUT = aiohttp.ClientTimeout(total=3_700.0, sock_connect=CONNECT_SECONDS)
_PART_BYTES = 64 * 1024
# An export of 10,000 entries of 8 KiB fits.
ANSWER_BYTES_MAX = 128 * 1024 * 1024
ATTEMPTS = 3
_PAGE = 500
_PAUSE_SECONDS = 0.5
_PAUSE_SECONDS_MAX = 5.0
# The server, or a proxy before it, could not answer for now.
_PASSING = {502, 503, 504}


class _Response(NamedTuple):
    status: int
    content_type: str
    pause_seconds: float
    body: bytes


class HttpClient:
    """Sends requests to one server, decodes the answers, and raises problems as AppError."""

    def __init__(self, server: Server) -> None:
        self._url = server.url
        self._session = aiohttp.ClientSession(
            # A context of its own reads SSL_CERT_FILE now. That of aiohttp did at the import.
            connector=aiohttp.TCPConnector(ssl=ssl.create_default_context()),
            timeout=_ANSWER_TIMEOUT,
            headers={
                "Authorization": f"Bearer {server.token}",
                "User-Agent": f"flagstone/{VERSION}",
            },
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._session.close()

    async def get(self, path: str, answer: type[Answer], **query: Any) -> Answer:
        """Read a document. A parameter that is None or False is left out."""
        return self._decode(await self.send("GET", path, query=query), answer)

    async def pages(self, path: str, answer: type[AnyPage], **query: Any) -> AsyncIterator[AnyPage]:
        """Yield all pages. Raises ServerError for a page that was read before."""
        after: str | None = None
        seen: set[str | None] = set()
        while after not in seen:
            seen.add(after)
            page = await self.get(path, answer, **query, after=after, limit=_PAGE)
            yield page
            after = page.next
            if after is None:
                return
        raise ServerError(f"{path}: the server repeats a page. Check the URL and the proxy.")

    async def query(self, path: str, answer: type[Answer], body: Any) -> Answer:
        """Send a body to a path that writes nothing."""
        return self._decode(await self.send("POST", path, body=body), answer)

    async def write(
        self,
        method: str,
        path: str,
        answer: type[Answer],
        *,
        body: Any = None,
        query: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Write with a new Idempotency-Key. Raises ProposedError for a proposal instead."""
        sent = _write_headers(headers or {})
        raw = await self.send(method, path, query=query, body=body, headers=sent)
        return self._decode(raw, answer)

    async def upload(
        self,
        path: str,
        answer: type[Answer],
        parts: AsyncGenerator[bytes, None],
        *,
        query: Mapping[str, Any],
        headers: Mapping[str, str],
    ) -> Answer:
        """Write a body in parts by PUT, once. Raises as `write`."""
        sent = _write_headers(headers)
        response = await self._send_once(
            "PUT", self._full(path, query), parts, sent, timeout=_STREAM_TIMEOUT
        )
        return self._decode(self._checked(response), answer)

    async def stream(self, path: str, **query: Any) -> AsyncGenerator[bytes, None]:
        """Yield the parts of a large answer."""
        try:
            async with self._session.get(
                self._full(path, query), allow_redirects=False, timeout=_STREAM_TIMEOUT
            ) as answer:
                if answer.status != HTTPStatus.OK:
                    self._checked(await self._received(answer))
                async for part in answer.content.iter_chunked(_PART_BYTES):
                    yield part
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise of_client(self._url, error, is_write=False) from None

    async def send(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> bytes:
        """Send a request that may be repeated, and return the body of a successful answer."""
        url = self._full(path, query or {})
        sent = dict(headers or {})
        if body is not None and not isinstance(body, bytes):
            body = msgspec.json.encode(body)
            sent["Content-Type"] = "application/json"
        for left in reversed(range(ATTEMPTS)):
            pause = _PAUSE_SECONDS
            try:
                response = await self._send_once(method, url, body, sent)
            except ServerError as error:
                if not left or not error.may_pass:
                    raise
            else:
                if response.status not in _PASSING or not left:
                    return self._checked(response)
                pause = response.pause_seconds
            await asyncio.sleep(min(pause, _PAUSE_SECONDS_MAX))
        raise AssertionError

    def _full(self, path: str, query: Mapping[str, Any]) -> URL:
        return URL(f"{self._url}{path}{_query_text(query)}", encoded=True)

    async def _send_once(
        self,
        method: str,
        url: URL,
        body: bytes | AsyncGenerator[bytes, None] | None,
        headers: Mapping[str, str],
        *,
        timeout: aiohttp.ClientTimeout = _ANSWER_TIMEOUT,  # noqa: ASYNC109 - of aiohttp
    ) -> _Response:
        try:
            async with self._session.request(
                method, url, data=body, headers=headers, allow_redirects=False, timeout=timeout
            ) as answer:
                return await self._received(answer)
        except (aiohttp.ClientError, OSError, ValueError) as error:
            is_write = "Idempotency-Key" in headers
            raise of_client(self._url, error, is_write=is_write) from None

    async def _received(self, answer: aiohttp.ClientResponse) -> _Response:
        raw = bytearray()
        async for chunk in answer.content.iter_chunked(_PART_BYTES):
            raw += chunk
            if len(raw) > ANSWER_BYTES_MAX:
                size = f"{ANSWER_BYTES_MAX // 1024**2} MiB"
                raise ServerError(f"{self._url}: the answer is larger than {size}")
        after = answer.headers.get("Retry-After", "")
        return _Response(
            status=answer.status,
            content_type=answer.content_type,
            pause_seconds=float(after) if after.isdecimal() else _PAUSE_SECONDS,
            body=bytes(raw),
        )

    def _checked(self, response: _Response) -> bytes:
        if response.status == HTTPStatus.ACCEPTED:
            raise ProposedError(self._decode(response.body, ProposalView))
        if 200 <= response.status < 300:
            return response.body
        if 300 <= response.status < 400:
            raise ServerError(
                f"{self._url}: redirects to another URL. Give the final URL of the server."
            )
        raise of_problem(self._url, response.status, response.content_type, response.body)

    def _decode(self, raw: bytes, answer: type[Answer]) -> Answer:
        try:
            return msgspec.json.decode(raw, type=answer)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise not_flagstone(self._url, raw, error) from None


def _write_headers(headers: Mapping[str, str]) -> dict[str, str]:
    sent = {"Idempotency-Key": secrets.token_hex(16), **headers}
    if is_proposed():
        sent["Prefer"] = "proposal"
    return sent


def _query_text(query: Mapping[str, Any]) -> str:
    texts = {
        name: "true" if value is True else str(value)
        for name, value in query.items()
        if value is not None and value is not False
    }
    return f"?{urlencode(texts)}" if texts else ""
