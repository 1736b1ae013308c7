"""Answer hot requests inside the protocol: no task and no other object of aiohttp's server.

A route is hot if it has a function that answers without waiting. aiohttp's parser reads every
request, and aiohttp's router finds every route. A request is answered here if it is the only one
of its connection, is complete, and has no header that needs more. Every other request goes the
ordinary way, and so does one whose function returns None or raises an unexpected error. The
handlers of the ordinary way call the same functions. FAST_PATH=false turns this module off.
"""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from aiohttp import HttpVersion11, StreamReader, hdrs, web
from aiohttp.http import RawRequestMessage
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.streams import EMPTY_PAYLOAD
from multidict import MultiMapping
from yarl import URL

from app.errors import AppError
from app.http import problems
from app.http.encoded import EncodedResponse
from app.http.frame import request_id
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
# Replaces the route of a path that was not seen before.
_UNKNOWN: Any = object()


class HotRequest(web.Request):
    """The head of a complete request. It has neither a task nor a writer.

    Slots and properties replace what aiohttp computes for every request.
    """

    __slots__ = ("app", "connection", "headers", "match_info", "method", "raw_path")
    _version = HttpVersion11

    def __init__(
        self, app: web.Application, message: RawRequestMessage, connection: "GuardedConnection"
    ) -> None:
        self.app = app  # type: ignore[misc]  # a property of aiohttp
        self.connection = connection
        self.headers = message.headers
        self.method = message.method
        self.raw_path = message.path
        self._message = message
        self._state = {}
        self._cache = {}

    def __contains__(self, key: object) -> bool:
        return key in self._state

    @property
    def rel_url(self) -> URL:
        return self._message.url

    @property
    def query(self) -> MultiMapping[str]:
        return self._message.url.query

    @property
    def scheme(self) -> str:
        return "http" if self.connection.ssl_context is None else "https"

    @property
    def remote(self) -> str | None:
        peer = self.connection.peername
        return str(peer[0]) if isinstance(peer, tuple) else peer


class HotMatch(NamedTuple):
    """A path of a hot route, with its parameters."""

    match: web.UrlMappingMatchInfo
    answer: HotAnswer


class HotRoutes:
    """The hot routes of an application, found by its router and remembered by path."""

    def __init__(self, app: web.Application) -> None:
        self.app = app
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

    __slots__ = ("_connection", "_parsed", "_parser", "_routes")

    def __init__(self, parser: Any, connection: "GuardedConnection", routes: HotRoutes) -> None:
        self._parser = parser
        self._connection = connection
        self._routes = routes
        # The result, or the error, of bytes that were parsed but not answered.
        self._parsed: tuple[Any, bool, bytes] | HttpProcessingError | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._parser, name)

    def feed_data(self, data: bytes) -> tuple[Any, bool, bytes]:
        """Return what the parser has found in these bytes."""
        parsed, self._parsed = self._parsed, None
        if isinstance(parsed, HttpProcessingError):
            raise parsed
        return self._parser.feed_data(data) if parsed is None else parsed

    def receive(self, data: bytes) -> bool:
        """Answer the bytes if they are one hot request. The connection waits for a request.

        Otherwise the next call of `feed_data` must be for the same bytes.
        """
        started = time.perf_counter()
        try:
            self._parsed = parsed = self._parser.feed_data(data)
        except HttpProcessingError as error:
            self._parsed = error
            return False
        messages, is_upgraded, _ = parsed
        if len(messages) != 1 or is_upgraded or self._routes.draining.is_set():
            return False
        message, payload = messages[0]
        request = HotRequest(self._routes.app, message, self._connection)
        try:
            response = self._answer(request, message, payload)
        except Exception:  # noqa: BLE001 - the ordinary way answers and logs the same error
            return False
        if response is None:
            return False
        self._parsed = None
        self._parser.message_consumed()
        self._connection.send(request, response, started)
        self._routes.durations.fast_answers += 1
        return True

    def _answer(
        self, request: HotRequest, message: RawRequestMessage, payload: StreamReader
    ) -> EncodedResponse | None:
        """Return the answer, or None if the ordinary way must answer."""
        found = self._routes.find(request) if _is_usual(message) else None
        if found is None:
            return None
        body = b""
        if payload is not EMPTY_PAYLOAD:
            # Do not read it from the stream: the ordinary way may need it.
            parts = payload._buffer  # noqa: SLF001
            if not payload.is_eof() or len(parts) != 1 or len(parts[0]) > _BODY_BYTES_MAX:
                return None
            body = parts[0]
        request.match_info = request._match_info = found.match  # noqa: SLF001
        request[REQUEST_ID] = request_id(request)
        try:
            return found.answer(request, body)
        except AppError as error:
            return problems.encoded_error(error, request[REQUEST_ID])


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
