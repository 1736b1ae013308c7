"""Answer hot requests inside the protocol: no task and no other object of aiohttp's server.

A route is hot if it has a function that answers without waiting. aiohttp's parser reads every new
head, and aiohttp's router finds every route. A request is answered here if it is the only one of
its connection, is complete, and has no header that needs more. Every other request goes the
ordinary way, and so does one whose function returns None or raises an unexpected error. The
handlers of the ordinary way call the same functions. FAST_PATH=false turns this module off.

Most clients repeat the bytes of their heads. A head that was answered here is remembered with its
parsed form, and is not parsed again. The token in it is checked each time.
"""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from aiohttp import HttpVersion11, hdrs, web
from aiohttp.http import RawRequestMessage
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader

from app.errors import AppError
from app.http import problems
from app.http.encoded import EncodedResponse
from app.http.frame import request_id
from app.http.hot_request import HotRequest
from app.http.keys import DURATIONS, LIFECYCLE, REQUEST_ID

if TYPE_CHECKING:
    from app.http.protocol import GuardedConnection

# The version whose internals this module uses; a test says what to compare after an upgrade.
AIOHTTP_VERSION = "3.14"

# Return the answer to a request with this body. Return None if it must be answered the ordinary
# way. A function that has changed or counted anything must return an answer or raise an AppError.
HotAnswer = Callable[[web.Request, bytes], EncodedResponse | None]
HOT_ANSWERS: web.AppKey[dict[web.AbstractRoute, HotAnswer]] = web.AppKey("hot_answers", dict)

_METHODS = frozenset({hdrs.METH_GET, hdrs.METH_POST})
# A larger body takes more time than the ordinary way adds.
_BODY_BYTES_MAX = 64 * 1024
# The limits of remembered routes, about 8 MB. A path has at most a few names and a key.
_PATHS_MAX = 8_192
_PATH_CHARACTERS_MAX = 512
# The limits of remembered heads, about 4 MB.
_HEADS_MAX = 1_024
_HEAD_BYTES_MAX = 1_024
# Replaces the route of a path that was not seen before.
_UNKNOWN: Any = object()


class HotMatch(NamedTuple):
    """A path of a hot route, with its parameters."""

    match: web.UrlMappingMatchInfo
    answer: HotAnswer


class KnownHead(NamedTuple):
    """The parsed form of the bytes of a head. Exactly `body_bytes` follow them."""

    message: RawRequestMessage
    found: HotMatch
    body_bytes: int


class HotRoutes:
    """The hot routes of an application, found by its router and remembered by path.

    `heads` are the heads that were answered on the fast path, by their bytes.
    """

    def __init__(self, app: web.Application) -> None:
        self.app = app
        self.heads: dict[bytes, KnownHead] = {}
        self._answers = app[HOT_ANSWERS]
        self._found: dict[tuple[str, str], HotMatch | None] = {}
        self.draining = app[LIFECYCLE].draining
        self.durations = app[DURATIONS]

    def find(self, request: HotRequest) -> HotMatch | None:
        """Return the match and the function of a hot route, or None for any other route."""
        path = request.rel_url.path_safe
        found: HotMatch | None = self._found.get((request.method, path), _UNKNOWN)
        if found is not _UNKNOWN:
            return found
        found = self._resolve(request)
        if len(path) <= _PATH_CHARACTERS_MAX:
            if len(self._found) >= _PATHS_MAX:
                self._found.clear()
            self._found[request.method, path] = found
        return found

    def remember(self, head: bytes, known: KnownHead) -> None:
        if len(head) <= _HEAD_BYTES_MAX:
            if len(self.heads) >= _HEADS_MAX:
                self.heads.clear()
            self.heads[head] = known

    def _resolve(self, request: HotRequest) -> HotMatch | None:
        """Run the router's coroutine, which never waits."""
        try:
            self.app.router.resolve(request).send(None)
        except StopIteration as end:
            match: web.UrlMappingMatchInfo = end.value
        else:
            raise RuntimeError("aiohttp's router waits")
        answer = self._answers.get(match.route)
        if answer is None:
            return None
        match.add_app(self.app)
        match.freeze()
        return HotMatch(match, answer)


class FastPath:
    """aiohttp's parser of a connection. It answers a hot request instead of returning it."""

    __slots__ = ("_connection", "_is_at_head", "_parsed", "_parser", "_routes")

    def __init__(self, parser: Any, connection: "GuardedConnection", routes: HotRoutes) -> None:
        self._parser = parser
        self._connection = connection
        self._routes = routes
        # Whether the parser has only got whole requests, so that a head begins with the next byte.
        self._is_at_head = True
        # The result, or the error, of bytes that were parsed but not answered.
        self._parsed: tuple[Any, bool, bytes] | HttpProcessingError | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._parser, name)

    def feed_data(self, data: bytes) -> tuple[Any, bool, bytes]:
        """Return what the parser has found in these bytes."""
        parsed, self._parsed = self._parsed, None
        if isinstance(parsed, HttpProcessingError):
            raise parsed
        return self._feed(data) if parsed is None else parsed

    def receive(self, data: bytes) -> bool:
        """Answer the bytes if they are one hot request. The connection waits for a request.

        Otherwise the next call of `feed_data` must be for the same bytes.
        """
        started = time.perf_counter()
        if self._routes.draining.is_set():
            return False
        head, body = _divided(data)
        known = self._routes.heads.get(head) if self._is_at_head else None
        if known is not None and len(body) == known.body_bytes:
            if self._answer(known, body, started):
                self._routes.durations.known_heads += 1
                return True
            self._parse(data)
            return False
        parsed = self._parse(data)
        if parsed is None or not self._answer(*parsed, started):
            return False
        self._parsed = None
        self._parser.message_consumed()
        if self._is_at_head:
            self._routes.remember(head, parsed[0])
        return True

    def _feed(self, data: bytes) -> tuple[Any, bool, bytes]:
        """Parse the bytes, and find out whether a head begins with the next byte.

        Not if the body has chunks, or a part of the next request follows.
        """
        was_at_head, self._is_at_head = self._is_at_head, False
        messages, is_upgraded, rest = self._parser.feed_data(data)
        if was_at_head and not data:
            # aiohttp asks for requests that the parser may have retained.
            self._is_at_head = not messages
        elif was_at_head and len(messages) == 1 and not is_upgraded:
            self._is_at_head = _whole_body(messages[0][1]) == _divided(data)[1]
        return messages, is_upgraded, rest

    def _parse(self, data: bytes) -> tuple[KnownHead, bytes] | None:
        """Parse the bytes. Return head and body if they complete one request of a hot route."""
        try:
            self._parsed = messages, is_upgraded, _ = self._feed(data)
        except HttpProcessingError as error:
            self._parsed = error
            return None
        if len(messages) != 1 or is_upgraded:
            return None
        message, payload = messages[0]
        body = _whole_body(payload)
        if body is None:
            return None
        if not _is_usual(message) or len(body) > _BODY_BYTES_MAX:
            return None
        try:
            found = self._routes.find(HotRequest(self._routes.app, message, self._connection))
        except Exception:  # noqa: BLE001 - the ordinary way answers and logs the same error
            return None
        return None if found is None else (KnownHead(message, found, len(body)), body)

    def _answer(self, known: KnownHead, body: bytes, started: float) -> bool:
        """Answer the request, or return False if the ordinary way must answer."""
        request = HotRequest(self._routes.app, known.message, self._connection)
        request.match_info = request._match_info = known.found.match  # noqa: SLF001
        request[REQUEST_ID] = request_id(request)
        try:
            response = known.found.answer(request, body)
        except AppError as error:
            response = problems.encoded_error(error, request[REQUEST_ID])
        except Exception:  # noqa: BLE001 - the ordinary way answers and logs the same error
            return False
        if response is None:
            return False
        self._connection.send(request, response, started)
        self._routes.durations.fast_answers += 1
        return True


def _divided(data: bytes) -> tuple[bytes, bytes]:
    """Return the bytes up to the first empty line, and the rest."""
    end = data.find(b"\r\n\r\n") + 4
    return data[:end], data[end:]


def _whole_body(payload: StreamReader) -> bytes | None:
    """Return the body if the parser got it whole and in one part."""
    if payload is EMPTY_PAYLOAD:
        return b""
    # Do not read it from the stream: the ordinary way may need it.
    parts = payload._buffer  # noqa: SLF001
    return parts[0] if payload.is_eof() and len(parts) == 1 else None


def _is_usual(message: RawRequestMessage) -> bool:
    """Return whether the head needs nothing but an answer over an open connection."""
    headers = message.headers
    return (
        message.method in _METHODS
        and message.version == HttpVersion11
        and not (message.should_close or message.upgrade or message.chunked)
        # Not the absolute form: it replaces the header Host.
        and message.path.startswith("/")
        and hdrs.EXPECT not in headers
        and hdrs.CONTENT_ENCODING not in headers
        and hdrs.UPGRADE not in headers
    )
