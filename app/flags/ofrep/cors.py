"""CORS: the origins whose pages may evaluate flags and read the answers.

Failures have CORS headers too; without them a page's script cannot read the error.
"""

import re
from collections.abc import Sequence
from http import HTTPStatus

from aiohttp import hdrs, web

from app.http.headers import header_lines

PREFLIGHT_SECONDS = 7_200
_BELOW_OFREP = re.compile(r"(/v1/environments/[^/]+)?/ofrep(/|$)")
_SHARED: dict[str, str] = {
    # Headers that scripts may read. Without ETag the web client never revalidates.
    hdrs.ACCESS_CONTROL_EXPOSE_HEADERS: "ETag, Retry-After, X-Request-ID, "
    "Flagstone-Revision, Flagstone-Stale",
}
_PREFLIGHT: dict[str, str] = {
    hdrs.ACCESS_CONTROL_ALLOW_METHODS: "POST, GET",
    hdrs.ACCESS_CONTROL_MAX_AGE: str(PREFLIGHT_SECONDS),
}
# Listed by name, because * does not include Authorization.
_REQUEST_HEADERS = ("authorization", "content-type", "if-none-match", "x-api-key")
ASKED_HEADERS_MAX = 64
_HEADER_NAME = re.compile(r"[a-z0-9!#$%&'*+.^_`|~-]{1,64}")


class Cors:
    """The CORS headers for each origin, computed once."""

    def __init__(self, origins: Sequence[str]) -> None:
        varying: dict[str, str] = {hdrs.VARY: "Origin"}
        self._otherwise = varying
        self._by_origin = {origin: _shared_with(origin) | varying for origin in origins}
        if "*" in origins:
            self._otherwise, self._by_origin = _shared_with("*"), {}
        self._head_otherwise = header_lines(self._otherwise)
        self._heads = {origin: header_lines(headers) for origin, headers in self._by_origin.items()}

    def headers(self, request: web.Request) -> dict[str, str]:
        """Return the headers of an answer. An origin that is not allowed gets only Vary."""
        return self._by_origin.get(request.headers.get(hdrs.ORIGIN, ""), self._otherwise)

    def head(self, request: web.Request) -> bytes:
        if not self._heads:
            return self._head_otherwise
        return self._heads.get(request.headers.get(hdrs.ORIGIN, ""), self._head_otherwise)


CORS: web.AppKey[Cors] = web.AppKey("cors", Cors)


async def preflight(request: web.Request) -> web.Response:
    """Answer a CORS preflight. It needs no token."""
    asked = ",".join(request.headers.getall(hdrs.ACCESS_CONTROL_REQUEST_HEADERS, ()))
    headers = {
        **request.app[CORS].headers(request),
        **_PREFLIGHT,
        hdrs.ACCESS_CONTROL_ALLOW_HEADERS: ", ".join(allowed_headers(asked)),
    }
    return web.Response(status=204, headers=headers)


def allowed_headers(asked: str) -> list[str]:
    """Return the request headers that a page may send: those of OFREP and those it asks for.

    Pages add headers for tracing and similar, which this service does not read. The answer repeats
    at most 64 names, and only valid ones (RFC 9110), so it cannot be split or grow.
    """
    names = (name.strip().lower() for name in asked.split(",", 4 * ASKED_HEADERS_MAX))
    extra = [name for name in names if _HEADER_NAME.fullmatch(name)][:ASKED_HEADERS_MAX]
    return list(dict.fromkeys((*_REQUEST_HEADERS, *extra)))


async def share_refusals(request: web.Request, response: web.StreamResponse) -> None:
    """Add CORS headers to errors below /ofrep that no handler answers: an unknown path or method.

    Handlers of OFREP add them to their own answers. A request whose head cannot be read has no
    path, so its answer gets none.
    """
    if response.status >= HTTPStatus.BAD_REQUEST and _BELOW_OFREP.match(request.path):
        response.headers.update(request.app[CORS].headers(request))


def _shared_with(origin: str) -> dict[str, str]:
    return {**_SHARED, hdrs.ACCESS_CONTROL_ALLOW_ORIGIN: origin}
