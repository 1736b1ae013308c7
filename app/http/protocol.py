"""Connections with limits on slow clients, and with problems as answers to malformed heads.

aiohttp has no limit for a head that arrives slowly. It answers a malformed head in plain text, and
logs a traceback that contains the received bytes. The classes here override internal methods of
aiohttp to change both. Each override has a test.
"""

import asyncio
import time
from typing import Any

from aiohttp import StreamReader, web
from aiohttp.abc import AbstractAccessLogger
from aiohttp.http_exceptions import HttpProcessingError, LineTooLong
from aiohttp.web_protocol import RequestHandler, _ErrInfo

from app.http import problems
from app.http.bodies import too_large
from app.http.decoder import BODY_BYTES_MAX
from app.http.encoded import EncodedResponse
from app.http.fast_path import FastPath, HotRoutes
from app.http.frame import X_REQUEST_ID, new_request_id, with_error_handling
from app.http.hot_request import HotRequest
from app.http.keys import DURATIONS, LIFECYCLE, SETTINGS, TRACING, Handler
from app.http.request_log import RequestLogger
from app.log import logger
from app.settings import HttpSettings

log = logger(__name__)


class GuardedConnection(RequestHandler):
    """A connection that limits the time for each head and for each write.

    The parser hides a partial head that arrives together with a complete request. For that head
    the idle timeout applies until another byte arrives.
    """

    __slots__ = (
        "_fast_path",
        "_framed_content",
        "_framing_bytes",
        "_head_seconds",
        "_head_timer",
        "_write_seconds",
        "_write_timer",
    )

    def __init__(
        self,
        manager: web.Server,
        *,
        head_seconds: float,
        write_seconds: float,
        access_logger: AbstractAccessLogger,
        hot_routes: HotRoutes | None,
        **arguments: Any,
    ) -> None:
        super().__init__(manager, **arguments)
        self._fast_path: FastPath | None = None
        if hot_routes is not None:
            self._fast_path = FastPath(self._parser, self, hot_routes)
            self._parser = self._fast_path  # type: ignore[assignment]  # it has the same methods
        # aiohttp would create a logger per connection, from a class without arguments.
        self.access_logger: AbstractAccessLogger = access_logger
        self._logging_enabled = True
        self._head_seconds = head_seconds
        self._write_seconds = write_seconds
        self._write_timer: asyncio.TimerHandle | None = None
        self._framed_content: StreamReader | None = None
        self._framing_bytes = 0
        self._head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        # A connection that sends nothing has the same time as one that sends half a head.
        self._start_timer()

    def data_received(self, data: bytes) -> None:
        fast_path, waiter = self._fast_path, self._waiter
        is_idle = waiter is not None and not waiter.done() and not self._paused
        if fast_path is not None and is_idle and fast_path.receive(data):
            if self._head_timer is not None:
                self._stop_timer()
            return
        handled_before = self._request_count
        current = self._current_request
        if current is not None and current._message.chunked:  # noqa: SLF001 - as in bodies.py
            self._receive_chunks(current.content, data)
        else:
            super().data_received(data)
        if self._messages and isinstance(self._messages[-1][0], _ErrInfo):
            self._fail_open_body()
        if self._request_count != handled_before or self._request_in_progress or self._messages:
            self._stop_timer()
        elif self._head_timer is None:
            self._start_timer()

    def send(self, request: HotRequest, response: EncodedResponse, started: float) -> None:
        """Send the answer to a hot request as `RequestHandler.start` does, and count it."""
        if self.transport is None or self._manager is None:
            return
        response.send(request, self.transport)
        self._request_count += 1
        self._manager.requests_count += 1
        self._keepalive = True
        self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout
        if self._keepalive_handle is None:
            self._keepalive_handle = self._loop.call_at(
                self._next_keepalive_close_time, self._process_keepalive
            )
        self.access_logger.log(request, response, time.perf_counter() - started)

    def _receive_chunks(self, content: StreamReader, data: bytes) -> None:
        """Feed the parser. Refuse a body whose chunk headers take more bytes than a body may."""
        if content is not self._framed_content:
            self._framed_content, self._framing_bytes = content, 0
        received_before = content.total_bytes
        super().data_received(data)
        self._framing_bytes += len(data) - (content.total_bytes - received_before)
        if self._framing_bytes > BODY_BYTES_MAX and not content.is_eof():
            self._give_up(content, too_large(BODY_BYTES_MAX))

    def connection_lost(self, exc: BaseException | None) -> None:
        self._stop_timer()
        self._stop_write_timer()
        self._fast_path = None
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Start a timer: a client that does not read must not block the writer without limit."""
        super().pause_writing()
        self._write_timer = self._loop.call_later(self._write_seconds, self._write_too_slow)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._stop_write_timer()

    def _stop_write_timer(self) -> None:
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer a malformed head, and any exception that was not handled."""
        del message  # The message quotes received bytes.
        if isinstance(exc, ConnectionError) and self._is_closed():
            raise exc  # the client has disconnected
        request_id = new_request_id()
        if isinstance(exc, HttpProcessingError):
            log.info("head_refused", request_id=request_id, error=type(exc).__name__)
            problem = _head_problem(exc, request_id)
        else:
            log.error("request_failed", request_id=request_id, status=status, exc_info=exc)
            problem = problems.of_bug(request_id)
        if request.writer.output_size > 0:
            raise ConnectionError("the answer has already started")
        # The application's hook for common headers does not run for this answer.
        problem.headers[X_REQUEST_ID] = request_id
        problem.headers["Server"] = "flagstone"
        problem.headers["Cache-Control"] = "no-store"
        problem.force_close()
        return problem

    def _is_closed(self) -> bool:
        return self.transport is None or self.transport.is_closing()

    def _fail_open_body(self) -> None:
        """Fail the body of the running request: aiohttp only queues the framing error."""
        current = self._current_request
        if current is not None and not current.content.is_eof():
            self._give_up(current.content, web.RequestPayloadError("framing"))

    def _give_up(self, content: StreamReader, error: Exception) -> None:
        content.set_exception(error)
        # Otherwise aiohttp reads the rest after the answer, and logs a traceback.
        self._lingering_time = 0.0

    def _start_timer(self) -> None:
        self._head_timer = self._loop.call_later(self._head_seconds, self._head_too_slow)

    def _stop_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _write_too_slow(self) -> None:
        if self.transport is not None:
            # close() would wait until the buffer is written.
            self.transport.abort()

    def _head_too_slow(self) -> None:
        self._head_timer = None
        if not self._request_in_progress:
            self.force_close()


class GuardedServer(web.Server):
    """aiohttp's server with guarded connections."""

    def __init__(
        self,
        server: web.Server,
        handler: Handler,
        access_logger: AbstractAccessLogger,
        settings: HttpSettings,
        hot_routes: HotRoutes | None,
    ) -> None:
        super().__init__(
            handler,  # type: ignore[arg-type]  # an application creates web.Request
            request_factory=server.request_factory,
            handler_cancellation=server.handler_cancellation,
            loop=server._loop,  # noqa: SLF001 - aiohttp passes it on too
            **server._kwargs,  # noqa: SLF001 - the same
        )
        self._arguments: dict[str, Any] = {
            "access_logger": access_logger,
            "hot_routes": hot_routes,
            "head_seconds": settings.header_timeout_seconds,
            # A client has the same time to read a part of an answer as to send a body.
            "write_seconds": settings.body_timeout_seconds,
        }

    def __call__(self) -> RequestHandler:
        return GuardedConnection(self, **self._arguments, loop=self._loop, **self._kwargs)


class Runner(web.AppRunner):
    """aiohttp's runner with this service's limits, server and error handling."""

    def __init__(self, app: web.Application, **arguments: Any) -> None:
        http = app[SETTINGS].http
        defaults: dict[str, Any] = {
            "handle_signals": False,
            "keepalive_timeout": http.idle_timeout_seconds,
            "shutdown_timeout": http.shutdown_timeout_seconds,
            # aiohttp would answer 500 to a malformed gzip body.
            "auto_decompress": False,
            "max_line_size": 8190,
            "max_field_size": 8190,
            "max_headers": 128,
            "lingering_time": 2,
        }
        super().__init__(app, **{**defaults, **arguments})

    async def _make_server(self) -> web.Server:
        server, settings = await super()._make_server(), self.app[SETTINGS]
        http = settings.http
        handler = with_error_handling(server.request_handler, self.app[LIFECYCLE])
        access_logger = RequestLogger(self.app[DURATIONS], http.request_log_sample, settings.tier)
        hot_routes = HotRoutes(self.app) if http.fast_path else None
        tracing = self.app.get(TRACING)
        if tracing is None:
            return GuardedServer(server, handler, access_logger, http, hot_routes)
        handler, ending = tracing.around(handler), tracing.after(access_logger)
        return GuardedServer(server, handler, ending, http, hot_routes)


def _head_problem(error: HttpProcessingError, request_id: str) -> web.Response:
    if isinstance(error, LineTooLong) or error.message.startswith("Too many headers"):
        detail = "The head of the request is too large."
        return problems.respond(431, "head_too_large", detail, request_id)
    detail = "The request is not valid HTTP."
    return problems.respond(400, "request_malformed", detail, request_id)
