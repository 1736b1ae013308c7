"""What surrounds every request: an id, one shape for every error, and the headers; and what
surrounds every write: a deadline.
"""

import asyncio
import itertools
import re
import secrets
from collections.abc import Awaitable, Callable

from aiohttp import hdrs, web
from multidict import CIMultiDict

from app import log as logs
from app import memory as collector
from app.errors import AppError, Unavailable
from app.http import problems
from app.http.bodies import forget_body
from app.http.keys import DEADLINE, OWN_HEADERS, REQUEST_ID, SETTINGS, Handler
from app.http.lifecycle import Lifecycle
from app.log import logger
from app.settings import HttpSettings
from app.threads import freed_in_thread

log = logger(__name__)

Prepare = Callable[[web.Request, web.StreamResponse], Awaitable[None]]

X_REQUEST_ID = "X-Request-ID"
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
_PROCESS = secrets.token_hex(8)
_numbers = itertools.count(1)

# Of every answer.
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    hdrs.SERVER: "flagstone",
    hdrs.CACHE_CONTROL: "no-store",
}


def framed(handle: Handler, lifecycle: Lifecycle) -> Handler:
    """Return the whole application in its frame: every request gets an id, and whatever is raised
    becomes a problem.

    Around the application and not among its middlewares, so that what aiohttp itself refuses comes
    by here too; and aiohttp does more for the first middleware than this does.
    """

    async def frame(request: web.Request) -> web.StreamResponse:
        own_id = request_id(request)
        request[REQUEST_ID] = own_id
        logs.REQUEST_ID.set(own_id)
        try:
            response = await handle(request)
        except Exception as error:  # noqa: BLE001 - the last place for it
            response = _problem(request, error)
        if lifecycle.draining.is_set():
            response.force_close()
        return response

    return frame


def timed(handler: Handler) -> Handler:
    """Return a handler that writes so that it answers in time.

    Reads wait for nothing but their body, statements and revisions, each of which has a limit of
    its own; a timer for every one of them would cost a tenth of the answer.
    """

    async def handle_in_time(request: web.Request) -> web.StreamResponse:
        http = request.app[SETTINGS].http
        # Once the body is read, its part is taken back.
        body_seconds = http.body_timeout_seconds if request.body_exists else 0
        async with asyncio.timeout(http.request_timeout_seconds + body_seconds) as deadline:
            request[DEADLINE] = deadline
            try:
                return await handler(request)
            finally:
                forget_body(request)

    return handle_in_time


def with_large_data(handler: Handler) -> Handler:
    """Return a handler that postpones full collections, and whose data a thread frees."""

    async def handle(request: web.Request) -> web.StreamResponse:
        with collector.large_data(), freed_in_thread():
            return await handler(request)

    return handle


def _problem(request: web.Request, error: Exception) -> web.Response:
    """Return what the client learns of an error. Raises ConnectionError: it learns nothing."""
    own_id = request[REQUEST_ID]
    if isinstance(error, ConnectionError):
        raise error  # the client has gone
    if isinstance(error, TimeoutError) and DEADLINE in request and request[DEADLINE].expired():
        error = Unavailable("request_timeout", "The answer took too long.")
    if isinstance(error, AppError):
        return problems.of_error(error, own_id)
    if isinstance(error, web.HTTPException):
        return problems.of_aiohttp(error, own_id)
    log.error("request_failed", method=request.method, route=route_of(request), exc_info=error)
    return problems.of_bug(own_id)


def common_headers(settings: HttpSettings) -> dict[str, str]:
    """Return the headers that every answer has."""
    if settings.hsts:
        return HEADERS | {"Strict-Transport-Security": "max-age=31536000; includeSubDomains"}
    return HEADERS


def dress(settings: HttpSettings, lifecycle: Lifecycle) -> Prepare:
    """Return what sets the headers that every answer has, aiohttp's own errors included."""
    common = CIMultiDict(common_headers(settings))

    async def prepare(request: web.Request, response: web.StreamResponse) -> None:
        headers = response.headers
        headers.update(common)
        headers.update(request.get(OWN_HEADERS, {}))
        headers[X_REQUEST_ID] = request.get(REQUEST_ID, "") or request_id(request)
        if lifecycle.draining.is_set():
            # The load balancer is sent elsewhere by readiness, a kept-alive client by this.
            # By hand, since aiohttp has written its own Connection header by now.
            response.force_close()
            headers[hdrs.CONNECTION] = "close"

    return prepare


def route_of(request: web.Request) -> str:
    """Return the route, for logs: a path holds keys, which may tell more than a log should keep."""
    match_info = request._match_info  # noqa: SLF001 - match_info would raise before the routing
    resource = match_info.route.resource if match_info is not None else None
    return resource.canonical if resource is not None else "(none)"


def request_id(request: web.BaseRequest) -> str:
    """Return the client's id if it is a valid one, else one of ours."""
    given = request.headers.get(X_REQUEST_ID)
    return given if given and _REQUEST_ID.fullmatch(given) else new_request_id()


def new_request_id() -> str:
    """Return an id that is unique over processes; asking the kernel each time costs a tenth."""
    return f"{_PROCESS}{next(_numbers):012x}"
