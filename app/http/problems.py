"""Errors as `application/problem+json` (RFC 9457), and the one table from meaning to status."""

from collections.abc import Mapping
from http import HTTPStatus

import msgspec
from aiohttp import hdrs, web

from app.errors import (
    AppError,
    ConditionMissing,
    Conflict,
    Forbidden,
    Invalid,
    LimitExceeded,
    Malformed,
    NotFound,
    RetryLater,
    Stale,
    TooLarge,
    TooSlow,
    Unauthenticated,
    Unavailable,
    Unimplemented,
    Unsupported,
)
from app.http.headers import entity_tag

STATUS: dict[type[AppError], HTTPStatus] = {
    Malformed: HTTPStatus.BAD_REQUEST,
    Unauthenticated: HTTPStatus.UNAUTHORIZED,
    Forbidden: HTTPStatus.FORBIDDEN,
    NotFound: HTTPStatus.NOT_FOUND,
    TooSlow: HTTPStatus.REQUEST_TIMEOUT,
    Conflict: HTTPStatus.CONFLICT,
    Stale: HTTPStatus.PRECONDITION_FAILED,
    TooLarge: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    Unsupported: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    Invalid: HTTPStatus.UNPROCESSABLE_ENTITY,
    ConditionMissing: HTTPStatus.PRECONDITION_REQUIRED,
    LimitExceeded: HTTPStatus.TOO_MANY_REQUESTS,
    Unimplemented: HTTPStatus.NOT_IMPLEMENTED,
    Unavailable: HTTPStatus.SERVICE_UNAVAILABLE,
}

# aiohttp's own errors, by status: code and sentence.
_OF_AIOHTTP = {
    400: ("request_malformed", "The request cannot be read."),
    404: ("path_unknown", "There is nothing at this path."),
    405: ("method_not_allowed", "This path does not take that method."),
    413: ("body_too_large", "The body is larger than 1 MiB."),
    417: ("expectation_failed", "Only Expect: 100-continue is understood."),
}
CONTENT_TYPE = "application/problem+json"
# A write of ten thousand keys may break a rule in each.
ERRORS_MAX = 100
# Of a text, which may name a key that is far too long.
TEXT_CHARACTERS_MAX = 2_000
# As RFC 9110 names them; Python changed its own words in 3.13.
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
    # Given when there are more errors than are listed.
    errors_count: int | None = None
    version: int | None = None


def of_error(error: AppError, request_id: str) -> web.Response:
    """Return the answer to an error of ours."""
    status = STATUS[type(error)]
    headers: dict[str, str] = {}
    if isinstance(error, Unauthenticated):
        headers[hdrs.WWW_AUTHENTICATE] = 'Bearer realm="flagstone"'
    if isinstance(error, RetryLater):
        headers[hdrs.RETRY_AFTER] = str(error.retry_after_seconds)
    version = None
    if isinstance(error, Stale) and error.version is not None:
        version = error.version
        headers[hdrs.ETAG] = entity_tag(version, error.epoch)
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
    )
    return respond(problem, headers)


def _shortened(text: str) -> str:
    return text if len(text) <= TEXT_CHARACTERS_MAX else text[: TEXT_CHARACTERS_MAX - 1] + "…"


def of_aiohttp(error: web.HTTPException, request_id: str) -> web.Response:
    """Return aiohttp's own error (404, 405, 413, …) in our shape, with the headers that matter."""
    status = HTTPStatus(error.status)
    code, detail = _OF_AIOHTTP.get(error.status, ("request_refused", f"{title(status)}."))
    allow = error.headers.get(hdrs.ALLOW)
    headers: dict[str, str] = {} if allow is None else {hdrs.ALLOW: allow}
    problem = Problem(
        status=status, title=title(status), code=code, detail=detail, request_id=request_id
    )
    return respond(problem, headers)


def of_bug(request_id: str) -> web.Response:
    """Return what a client learns of an unforeseen error: nothing but the id to ask about."""
    problem = Problem(
        status=500,
        title=title(500),
        code="internal_error",
        detail="Something went wrong here; the log has it under the request id.",
        request_id=request_id,
    )
    return respond(problem, {})


def respond(problem: Problem, headers: Mapping[str, str]) -> web.Response:
    return web.Response(
        status=problem.status,
        body=msgspec.json.encode(problem),
        content_type=CONTENT_TYPE,
        headers=headers,
    )
