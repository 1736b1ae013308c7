"""HTTP calls of a relay to its upstream. Every wait and every answer has a limit."""

import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import TypeVar

import aiohttp
import msgspec
from aiohttp import hdrs

from app import VERSION
from app.errors import Unavailable, reason
from app.relay import protocol
from app.relay.path import CIRCLE, RelayPath
from app.relay.protocol import UpstreamState
from app.settings import RelaySettings

_CONNECT_SECONDS = 5.0
_ANSWER_SECONDS = 10.0
# Between two parts of a stream or of an update.
_SILENCE_SECONDS = 10.0
_STATE_BYTES_MAX = 4 * 1024 * 1024
_PROBLEM_BYTES_MAX = 16 * 1024
_LINE_BYTES_MAX = 8 * 1024 * 1024

AWAY = "upstream_away"
REFUSED = "upstream_refuses"
UNFIT = "upstream_unfit"

Shape = TypeVar("Shape")


class _Refusal(msgspec.Struct, frozen=True):
    code: str = ""


class UpstreamClient:
    """Calls the upstream. Every failure is Unavailable, with words for the operator."""

    def __init__(self, settings: RelaySettings, path: RelayPath) -> None:
        if settings.upstream is None or settings.token is None:
            raise RuntimeError("a relay needs an upstream and a token")
        self.url = settings.upstream
        self._token = settings.token
        self._ca = settings.ca
        self._bytes_max = settings.answer_bytes_max
        self.path = path
        self._session: aiohttp.ClientSession | None = None
        # For metrics.
        self.received_bytes = 0

    async def state(self) -> UpstreamState:
        async with self._answer("GET", protocol.STATE) as answer:
            raw = await self._read(answer, _STATE_BYTES_MAX)
        return checked_state(raw)

    async def states(self) -> AsyncGenerator[UpstreamState, None]:
        """Yield each state of the stream, until the upstream ends it."""
        async with self._answer("GET", protocol.STATES, is_stream=True) as answer:
            data = b""
            async with aclosing(self._lines(answer, None)) as lines:
                async for line in lines:
                    if line.startswith(b"data:"):
                        data = line[5:].strip()
                    elif not line and data:
                        yield checked_state(data)
                        data = b""

    async def tokens(self, etag: str) -> tuple[str, protocol.Tokens] | None:
        """Return the entity tag and the tokens, None if they have not changed."""
        headers: dict[str, str] = {hdrs.IF_NONE_MATCH: etag} if etag else {}
        async with self._answer("GET", protocol.TOKENS, headers) as answer:
            if answer.status == 304:
                return None
            raw = await self._read(answer, self._bytes_max)
        return answer.headers.get(hdrs.ETAG, ""), decoded(raw, protocol.Tokens)

    @asynccontextmanager
    async def update(self, environment: str, after: str) -> AsyncIterator[AsyncIterator[bytes]]:
        """Yield the lines of the update of an environment."""
        path = protocol.ENVIRONMENT.format(environment=environment)
        async with (
            self._answer("GET", path, query={"after": after}, is_stream=True) as answer,
            aclosing(self._lines(answer, self._bytes_max)) as lines,
        ):
            yield lines

    async def list(self, digest: str, bases: Sequence[str]) -> bytes:
        """Return a list, or its changes since one of the bases, as MessagePack."""
        path, query = protocol.LIST.format(digest=digest), {"bases": ",".join(bases)}
        async with self._answer("GET", path, query=query, is_stream=True) as answer:
            return await self._read(answer, self._bytes_max)

    async def send_usage(self, body: bytes, key: str) -> None:
        headers = {"Idempotency-Key": key, hdrs.CONTENT_TYPE: "application/json"}
        async with self._answer("POST", protocol.USAGE, headers, body=body) as answer:
            await self._read(answer, _PROBLEM_BYTES_MAX)

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    @asynccontextmanager
    async def _answer(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str] | None = None,
        *,
        query: Mapping[str, str] | None = None,
        body: bytes | None = None,
        is_stream: bool = False,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Yield a successful answer. Raises Unavailable, also for errors of the caller's block."""
        timeout = aiohttp.ClientTimeout(
            total=None if is_stream else _ANSWER_SECONDS,
            sock_connect=_CONNECT_SECONDS,
            connect=2 * _CONNECT_SECONDS,
            sock_read=_SILENCE_SECONDS,
        )
        sent = {
            **(headers or {}),
            hdrs.AUTHORIZATION: f"Bearer {self._token.reveal()}",
            hdrs.USER_AGENT: f"flagstone-relay/{VERSION}",
            protocol.PATH_HEADER: self.path.header,
        }
        try:
            session = self._opened()
            async with session.request(
                *(method, self.url + path),
                headers=sent,
                params=query,
                data=body,
                timeout=timeout,
                allow_redirects=False,
            ) as answer:
                if answer.status not in {200, 304}:
                    raise await self._refusal(answer)
                yield answer
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Unavailable(AWAY, f"The upstream {_words(error)}.") from None

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            context: ssl.SSLContext | bool = True
            if self._ca is not None:
                context = ssl.create_default_context(cafile=str(self._ca))
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(ssl=context, limit=8),
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        return self._session

    async def _read(self, answer: aiohttp.ClientResponse, bytes_max: int) -> bytes:
        raw = bytearray()
        async for chunk in answer.content.iter_any():
            raw += chunk
            self.received_bytes += len(chunk)
            if len(raw) > bytes_max:
                raise self._too_large(bytes_max)
        return bytes(raw)

    async def _lines(
        self, answer: aiohttp.ClientResponse, bytes_max: int | None
    ) -> AsyncGenerator[bytes, None]:
        """Yield the lines of a body. A last line that is not ended is dropped."""
        rest, size = b"", 0
        async for chunk in answer.content.iter_any():
            size += len(chunk)
            self.received_bytes += len(chunk)
            if bytes_max is not None and size > bytes_max:
                raise self._too_large(bytes_max)
            *lines, rest = (rest + chunk).split(b"\n")
            if len(rest) > _LINE_BYTES_MAX:
                raise self._too_large(_LINE_BYTES_MAX)
            for line in lines:
                yield line

    def _too_large(self, bytes_max: int) -> Unavailable:
        # The other limits are fixed.
        hint = "; see RELAY_ANSWER_MAX_MIB" if bytes_max == self._bytes_max else ""
        return unfit(f"sends more than {bytes_max // (1024 * 1024)} MiB, the limit{hint}")

    async def _refusal(self, answer: aiohttp.ClientResponse) -> Unavailable:
        try:
            code = decoded(await self._read(answer, _PROBLEM_BYTES_MAX), _Refusal).code
        except Unavailable:
            # A page of a proxy, of any size.
            code = ""
        match answer.status, code:
            case _, "relay_circle":
                return Unavailable(
                    CIRCLE,
                    f"RELAY_UPSTREAM {self.url} leads back to this relay. Set it to an instance "
                    "that does not follow this relay.",
                )
            case 401, _:
                return Unavailable(REFUSED, "The upstream refuses RELAY_TOKEN: it is not valid.")
            case 403, "environment_foreign":
                return Unavailable(
                    UNFIT, "The upstream refuses an environment: RELAY_TOKEN is not for it."
                )
            case 403, _:
                return Unavailable(
                    REFUSED, "The upstream refuses RELAY_TOKEN: it needs the scope relay."
                )
            case 404 | 405, "path_unknown" | "":
                return Unavailable(
                    UNFIT, f"RELAY_UPSTREAM {self.url} is no Flagstone that feeds relays."
                )
            case status, _:
                # UNFIT is from a relay in between, whose upstream refuses the same counts.
                is_away = code != UNFIT and (status >= 500 or status in {408, 429})
                return Unavailable(
                    AWAY if is_away else UNFIT, f"The upstream answers with status {status}."
                )


def decoded(raw: bytes, shape: type[Shape]) -> Shape:
    """Decode a part of an answer. Raises Unavailable."""
    try:
        return msgspec.json.decode(raw, type=shape)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise unfit("sends what this release cannot read") from None


def checked_state(raw: bytes) -> UpstreamState:
    state = decoded(raw, UpstreamState)
    if state.format != protocol.FORMAT:
        raise unfit(f"sends format {state.format}, and this release reads {protocol.FORMAT}")
    return state


def unfit(what: str) -> Unavailable:
    return Unavailable(UNFIT, f"The upstream {what}.")


# The first that fits names the failure.
_WORDS: tuple[tuple[type[Exception], str], ...] = (
    (
        aiohttp.ClientConnectorCertificateError,
        "has a certificate that is not trusted; see RELAY_CA",
    ),
    (aiohttp.ClientSSLError, "cannot be reached by TLS; see RELAY_UPSTREAM and RELAY_CA"),
    (aiohttp.ClientConnectorDNSError, "has a host name that cannot be resolved"),
    (TimeoutError, "does not answer in time"),
    (aiohttp.ClientPayloadError, "ended an answer early"),
    (aiohttp.ServerDisconnectedError, "closed the connection"),
)


def _words(error: Exception) -> str:
    """Return why a call failed, without the names of classes."""
    for kind, words in _WORDS:
        if isinstance(error, kind):
            return words
    if isinstance(error, OSError):
        return f"cannot be reached: {reason(error)}"
    return "does not speak HTTP as expected"
