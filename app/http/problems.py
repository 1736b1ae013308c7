"""Errors as `application/problem+json` (RFC 9457), and the table from error class to status."""

from collections.abc import Mapping
from functools import lru_cache
from http import HTTPStatus
from typing import Any

import msgspec
from aiohttp import hdrs, web

from app import errors
from app.http.encoded import EncodedResponse, encoded
from app.http.headers import entity_tag, header_lines

STATUS: dict[type[errors.AppError], HTTPStatus] = {
    errors.Malformed: HTTPStatus.BAD_REQUEST,
    errors.Unauthenticated: HTTPStatus.UNAUTHORIZED,
    errors.Forbidden: HTTPStatus.FORBIDDEN,
    errors.NotFound: HTTPStatus.NOT_FOUND,
    errors.TooSlow: HTTPStatus.REQUEST_TIMEOUT,
    errors.Conflict: HTTPStatus.CONFLICT,
    errors.ApprovalRequired: HTTPStatus.CONFLICT,
    errors.Stale: HTTPStatus.PRECONDITION_FAILED,
    errors.TooLarge: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    errors.Unsupported: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    errors.Invalid: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.ConditionMissing: HTTPStatus.PRECONDITION_REQUIRED,
    errors.Misdirected: HTTPStatus.MISDIRECTED_REQUEST,
    errors.LimitExceeded: HTTPStatus.TOO_MANY_REQUESTS,
    errors.Unimplemented: HTTPStatus.NOT_IMPLEMENTED,
    errors.Unavailable: HTTPStatus.SERVICE_UNAVAILABLE,
}

# Code and detail of aiohttp's own errors, by status.
_OF_AIOHTTP = {
    400: ("request_malformed", "The request is not valid HTTP."),
    404: ("path_unknown", "This path does not exist."),
    405: ("method_not_allowed", "This path does not support this method; see Allow."),
    413: ("body_too_large", "The body is larger than 1 MiB."),
    417: ("expectation_failed", "Only Expect: 100-continue is supported."),
}
CONTENT_TYPE = "application/problem+json"
# A write of 10,000 keys may break a rule in each.
ERRORS_MAX = 100
# The limit of a text, which may quote a very long key.
TEXT_CHARACTERS_MAX = 2_000
# The titles of RFC 9110. Python adopted them in 3.13.
_TITLES = {
    413: "Content Too Large",
    414: "URI Too Long",
    416: "Range Not Satisfiable",
    422: "Unprocessable Content",
}


def title(status: int) -> str:
    """Return the title of a status, the same in every version of Python."""
    return _TITLES.get(status) or HTTPStatus(status).phrase


class FieldProblem(msgspec.Struct, frozen=True):
    field: str
    rule: str


class Problem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The body of every error."""

    status: int
    title: str
    code: str
    detail: str
    request_id: str = ""
    errors: list[FieldProblem] = []
    # Present when `errors` is incomplete.
    errors_count: int | None = None
    version: int | None = None
    # Of a relay: the URL to use instead.
    upstream: str | None = None
    # Of a write in a protected environment: the body of the proposal that would make it.
    proposal: Any = None


def of_error(error: errors.AppError, request_id: str) -> web.Response:
    problem, headers = _describe(error, request_id)
    return web.Response(
        status=problem.status,
        body=msgspec.json.encode(problem),
        content_type=CONTENT_TYPE,
        headers=headers,
    )


def encoded_error(error: errors.AppError, request_id: str) -> EncodedResponse:
    """Return the answer to an error as bytes, with the headers and the body of `of_error`."""
    if error.violations or isinstance(error, errors.Stale | errors.Misdirected):
        problem, headers = _describe(error, request_id)
        body = msgspec.json.encode(problem)
        return encoded(body, CONTENT_TYPE, header_lines(headers), status=problem.status)
    retry_after = error.retry_after_seconds if isinstance(error, errors.RetryLater) else None
    status = STATUS[type(error)]
    start, head = _prepared(status, error.code, error.message, retry_after)
    # Request IDs need no escapes in JSON.
    body = b'%b%b"}' % (start, request_id.encode())
    return EncodedResponse(body, head % len(body), status=status)


@lru_cache(maxsize=256)
def _prepared(
    status: HTTPStatus, code: str, message: str, retry_after: int | None
) -> tuple[bytes, bytes]:
    """Return the body up to the request ID, and the header lines without the length."""
    problem = Problem(
        status=status, title=title(status), code=code, detail=_shortened(message), request_id="-"
    )
    lines = header_lines(_headers(status, retry_after))
    head = b"Content-Type: %b\r\nContent-Length: %%d\r\n%b" % (CONTENT_TYPE.encode(), lines)
    return msgspec.json.encode(problem).removesuffix(b'-"}'), head


def _describe(error: errors.AppError, request_id: str) -> tuple[Problem, dict[str, str]]:
    """Return the problem of an error, and the headers that belong to it."""
    headers = headers_of(error)
    version = error.version if isinstance(error, errors.Stale) else None
    if isinstance(error, errors.Stale) and version is not None:
        headers[hdrs.ETAG] = entity_tag(version, error.epoch)
    status = STATUS[type(error)]
    problem = Problem(
        status=status,
        title=title(status),
        code=error.code,
        detail=_shortened(error.message),
        request_id=request_id,
        errors=[
            FieldProblem(_shortened(violation.field), _shortened(violation.rule))
            for violation in error.violations[:ERRORS_MAX]
        ],
        errors_count=len(error.violations) if len(error.violations) > ERRORS_MAX else None,
        version=version,
        upstream=error.upstream if isinstance(error, errors.Misdirected) else None,
        proposal=error.proposal if isinstance(error, errors.ApprovalRequired) else None,
    )
    return problem, headers


def headers_of(error: errors.AppError) -> dict[str, str]:
    """Return the headers that belong to the status of an error."""
    retry_after = error.retry_after_seconds if isinstance(error, errors.RetryLater) else None
    return _headers(STATUS[type(error)], retry_after)


def _headers(status: HTTPStatus, retry_after: int | None) -> dict[str, str]:
    if status is HTTPStatus.UNAUTHORIZED:
        return {hdrs.WWW_AUTHENTICATE: 'Bearer realm="flagstone"'}
    return {} if retry_after is None else {hdrs.RETRY_AFTER: str(retry_after)}


def _shortened(text: str) -> str:
    return text if len(text) <= TEXT_CHARACTERS_MAX else text[: TEXT_CHARACTERS_MAX - 1] + "…"


def of_aiohttp(error: web.HTTPException, request_id: str) -> web.Response:
    """Return an error of aiohttp (404, 405, 413, …) as a problem, with its Allow header."""
    code, detail = _OF_AIOHTTP.get(error.status, ("request_refused", f"{title(error.status)}."))
    allow = error.headers.get(hdrs.ALLOW)
    headers: dict[str, str] = {} if allow is None else {hdrs.ALLOW: allow}
    return respond(error.status, code, detail, request_id, headers=headers)


def of_bug(request_id: str) -> web.Response:
    """Return the answer to an unexpected error. It shows only the request ID."""
    detail = "An unexpected error occurred. The log has details under this request ID."
    return respond(500, "internal_error", detail, request_id)


def respond(
    status: int,
    code: str,
    detail: str,
    request_id: str,
    *,
    headers: Mapping[str, str] | None = None,
    **members: Any,
) -> web.Response:
    """Return a problem as a response. `members` are further members of `Problem`."""
    problem = Problem(
        status=status,
        title=title(status),
        code=code,
        detail=detail,
        request_id=request_id,
        **members,
    )
    return web.Response(
        status=status,
        body=msgspec.json.encode(problem),
        content_type=CONTENT_TYPE,
        headers=headers,
    )
