"""What surrounds every request: an id, a deadline, one shape for every error, and the headers."""

import asyncio
import itertools
import re
import secrets

import structlog
from aiohttp import hdrs, web

from app.errors import AppError, Unavailable
from app.http import problems
from app.http.keys import DEADLINE, LIFECYCLE, REQUEST_ID, SETTINGS, Handler
from app.log import logger

log = logger(__name__)

X_REQUEST_ID = "X-Request-ID"
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
_PROCESS = secrets.token_hex(8)
_numbers = itertools.count(1)

_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    hdrs.SERVER: "flagstone",
}


@web.middleware
async def frame(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Give the request its id and its deadline, and turn whatever is raised into a problem."""
    own_id = request_id(request)
    request[REQUEST_ID] = own_id
    structlog.contextvars.bind_contextvars(request_id=own_id)
    deadline = asyncio.timeout(_deadline_seconds(request))
    request[DEADLINE] = deadline
    try:
        async with deadline:
            response = await handler(request)
    except AppError as error:
        response = problems.of_error(error, own_id)
    except web.HTTPException as error:
        response = problems.of_aiohttp(error, own_id)
    except ConnectionError:
        raise  # the client has gone
    except TimeoutError:
        if not deadline.expired():
            log.exception("request_failed", method=request.method, route=route_of(request))
            return problems.of_bug(own_id)
        late = Unavailable("request_timeout", "The answer took too long.")
        response = problems.of_error(late, own_id)
    except Exception:
        log.exception("request_failed", method=request.method, route=route_of(request))
        response = problems.of_bug(own_id)
    return response


async def dress(request: web.Request, response: web.StreamResponse) -> None:
    """Set the headers that every answer has, aiohttp's own errors included."""
    headers = response.headers
    for name, value in _HEADERS.items():
        headers[name] = value
    headers.setdefault(hdrs.CACHE_CONTROL, "no-store")
    headers[X_REQUEST_ID] = request.get(REQUEST_ID, "") or request_id(request)
    if request.app[SETTINGS].http.hsts:
        headers["Strict-Transport-Security"] = "max-age=31536000; includeSubDomains"
    if request.app[LIFECYCLE].draining.is_set():
        # The load balancer is sent elsewhere by readiness, a kept-alive client by this.
        # By hand, since aiohttp has written its own Connection header by now.
        response.force_close()
        headers[hdrs.CONNECTION] = "close"


def _deadline_seconds(request: web.Request) -> float:
    """Return the seconds for all of it; once a body is read, its part of them is taken back."""
    http = request.app[SETTINGS].http
    body = http.body_timeout_seconds if request.body_exists else 0
    return http.request_timeout_seconds + body


def route_of(request: web.Request) -> str:
    """Return the route, for logs: a path holds keys, which may tell more than a log should keep."""
    resource = request.match_info.route.resource
    return resource.canonical if resource is not None else "(none)"


def request_id(request: web.BaseRequest) -> str:
    """Return the client's id if it is a valid one, else one of ours."""
    given = request.headers.get(X_REQUEST_ID, "")
    return given if _REQUEST_ID.fullmatch(given) else new_request_id()


def new_request_id() -> str:
    """Return an id that is unique over processes; asking the kernel each time costs a tenth."""
    return f"{_PROCESS}{next(_numbers):012x}"
