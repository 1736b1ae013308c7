"""The wrappers around handlers: request ID, error handling, common headers, write deadlines."""

import asyncio
import itertools
import os
import re
import secrets
from collections.abc import Awaitable, Callable

from aiohttp import hdrs, web
from multidict import CIMultiDict, istr

from app import log as logs
from app import memory as collector
from app.errors import AppError, Unavailable
from app.http import problems
from app.http.bodies import release_body
from app.http.keys import DEADLINE, OWN_HEADERS, REQUEST_ID, SETTINGS, Handler
from app.http.lifecycle import Lifecycle
from app.log import logger
from app.settings import HttpSettings
from app.threads import freed_in_thread

log = logger(__name__)

Prepare = Callable[[web.Request, web.StreamResponse], Awaitable[None]]

# An istr, so that the name is lower-cased once and not for each request.
X_REQUEST_ID = istr("X-Request-ID")
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
_process = secrets.token_hex(8)
_numbers = itertools.count(1)

# Stands for the route of a request that has none.
NO_ROUTE = "(none)"

# The headers of every answer.
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    hdrs.SERVER: "flagstone",
    hdrs.CACHE_CONTROL: "no-store",
}


def with_error_handling(handle: Handler, lifecycle: Lifecycle) -> Handler:
    """Wrap the application: set the request ID, and turn every exception into a problem.

    This is no middleware, so that it also sees the errors of aiohttp's router. It is cheaper too.
    """

    async def handle_with_errors(request: web.Request) -> web.StreamResponse:
        id_ = request_id(request)
        request[REQUEST_ID] = id_
        logs.REQUEST_ID.set(id_)
        try:
            response = await handle(request)
        except Exception as error:  # noqa: BLE001 - the outermost handler
            response = _problem(request, error)
        if lifecycle.draining.is_set():
            response.force_close()
        return response

    return handle_with_errors


def with_deadline(handler: Handler) -> Handler:
    """Wrap a handler that writes with a deadline.

    Reads need none: their body, statements and waits for a revision have their own limits, and a
    timer would take a tenth of the time of an answer.
    """

    async def handle_in_time(request: web.Request) -> web.StreamResponse:
        http = request.app[SETTINGS].http
        # `wire.allow` sets the deadline again when the body is read.
        body_seconds = http.body_timeout_seconds if request.body_exists else 0
        async with asyncio.timeout(http.request_timeout_seconds + body_seconds) as deadline:
            request[DEADLINE] = deadline
            try:
                return await handler(request)
            finally:
                release_body(request)

    return handle_in_time


def with_large_data(handler: Handler) -> Handler:
    """Wrap a handler: no full garbage collection runs meanwhile, and a thread frees its data."""

    async def handle(request: web.Request) -> web.StreamResponse:
        with collector.large_data(), freed_in_thread():
            return await handler(request)

    return handle


def _problem(request: web.Request, error: Exception) -> web.Response:
    """Return the answer to an error. Raises ConnectionError when the client has disconnected."""
    id_ = request[REQUEST_ID]
    if isinstance(error, ConnectionError):
        raise error  # the client has disconnected
    if isinstance(error, TimeoutError) and DEADLINE in request and request[DEADLINE].expired():
        error = Unavailable("request_timeout", "The request did not finish in time. Try again.")
    if isinstance(error, AppError):
        return problems.of_error(error, id_)
    if isinstance(error, web.HTTPException):
        return problems.of_aiohttp(error, id_)
    log.error("request_failed", method=request.method, route=route_of(request), exc_info=error)
    return problems.of_bug(id_)


def common_headers(settings: HttpSettings) -> dict[str, str]:
    if settings.hsts:
        return HEADERS | {"Strict-Transport-Security": "max-age=31536000; includeSubDomains"}
    return HEADERS


def set_common_headers(settings: HttpSettings, lifecycle: Lifecycle) -> Prepare:
    """Return a hook that sets the common headers, also of aiohttp's own errors."""
    common = CIMultiDict(common_headers(settings))

    async def prepare(request: web.Request, response: web.StreamResponse) -> None:
        headers = response.headers
        headers.update(common)
        headers.update(request.get(OWN_HEADERS, {}))
        headers[X_REQUEST_ID] = request.get(REQUEST_ID, "") or request_id(request)
        if lifecycle.draining.is_set():
            # Readiness moves new connections elsewhere. Keep-alive connections must be closed.
            # aiohttp has set its Connection header before this hook.
            response.force_close()
            headers[hdrs.CONNECTION] = "close"

    return prepare


def route_of(request: web.Request) -> str:
    """Return the route pattern for logs. A path contains keys, which do not belong into logs."""
    match_info = request._match_info  # noqa: SLF001 - match_info raises before routing
    resource = match_info.route.resource if match_info is not None else None
    return resource.canonical if resource is not None else NO_ROUTE


def request_id(request: web.BaseRequest) -> str:
    """Return the client's X-Request-ID if it is valid, else a new ID."""
    id_ = request.headers.get(X_REQUEST_ID)
    return id_ if id_ and _REQUEST_ID.fullmatch(id_) else new_request_id()


def new_request_id() -> str:
    """Return an ID that is unique across processes, without a system call."""
    return f"{_process}{next(_numbers):012x}"


def _name_process() -> None:
    global _process  # noqa: PLW0603 - workers are forks of one process
    _process = secrets.token_hex(8)


os.register_at_fork(after_in_child=_name_process)
