"""What surrounds every OFREP answer: its own shape of errors, and CORS for clients in browsers."""

import msgspec
from aiohttp import hdrs, web

from app.errors import AppError, Unauthenticated, Unavailable
from app.http.encoded import EncodedResponse, header_lines
from app.http.keys import SETTINGS, Handler
from app.http.problems import STATUS
from app.log import logger

log = logger(__name__)

PREFLIGHT_SECONDS = 7_200
_JSON = b"Content-Type: application/json\r\n"


class Failure(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """The body of every failure: OFREP's evaluationFailure, bulkEvaluationFailure and the like."""

    key: str | None = None
    error_code: str
    error_details: str


class EvaluationError(Exception):
    """A failure that is OFREP's own; `status` is 400 or 404."""

    def __init__(self, code: str, details: str, *, status: int = 400) -> None:
        super().__init__(details)
        self.failure = Failure(error_code=code, error_details=details)
        self.status = status


def speaking_ofrep(handler: Handler) -> Handler:
    """Return the handler so that whatever it raises is answered in OFREP's shape, with CORS."""

    async def answer(request: web.Request) -> web.StreamResponse:
        try:
            return await handler(request)
        except EvaluationError as error:
            return _failed(request, error.failure, error.status)
        except AppError as error:
            failure = Failure(error_code="GENERAL", error_details=error.message)
            return _failed(request, failure, STATUS[type(error)], _headers_of(error))
        except (web.HTTPException, ConnectionError, TimeoutError):
            raise
        except Exception:
            log.exception("evaluation_failed", key=request.match_info.get("key", ""))
            failure = Failure(error_code="GENERAL", error_details="Something went wrong here.")
            return _failed(request, failure, 500)

    return answer


async def preflight(request: web.Request) -> web.Response:
    """Answer a browser that asks what it may send; no token is needed for that."""
    headers = cors_headers(request) | {
        hdrs.ACCESS_CONTROL_ALLOW_METHODS: "POST, GET",
        # Named one by one: * would not cover Authorization.
        hdrs.ACCESS_CONTROL_ALLOW_HEADERS: "authorization, content-type, if-none-match, x-api-key",
        hdrs.ACCESS_CONTROL_MAX_AGE: str(PREFLIGHT_SECONDS),
    }
    return web.Response(status=204, headers=headers)


def respond(
    request: web.Request, body: bytes, head: bytes = b"", *, status: int = 200
) -> web.Response:
    """Return an answer of JSON that is encoded already."""
    lines = b"%b%bContent-Length: %d\r\n%b" % (cors_head(request), _JSON, len(body), head)
    return EncodedResponse(body, lines, status=status)


def cors_head(request: web.Request) -> bytes:
    """Return the CORS header lines of every answer; those for any origin are always the same."""
    if request.app[SETTINGS].http.cors_origins == ("*",):
        return _FOR_ANY
    return header_lines(cors_headers(request))


def cors_headers(request: web.Request) -> dict[str, str]:
    """Return the CORS headers of every answer; none but Vary for an origin that is not ours."""
    allowed = request.app[SETTINGS].http.cors_origins
    if allowed == ("*",):
        return _ANY
    origin = request.headers.get(hdrs.ORIGIN, "")
    if origin not in allowed:
        return {hdrs.VARY: "Origin"}
    return {**_ANY, hdrs.ACCESS_CONTROL_ALLOW_ORIGIN: origin, hdrs.VARY: "Origin"}


_ANY: dict[str, str] = {
    hdrs.ACCESS_CONTROL_ALLOW_ORIGIN: "*",
    # What a page's script may see. Without ETag the web client never revalidates.
    hdrs.ACCESS_CONTROL_EXPOSE_HEADERS: "ETag, Retry-After, Flagstone-Revision, X-Request-ID",
}
_FOR_ANY = header_lines(_ANY)


def _failed(
    request: web.Request, failure: Failure, status: int, headers: dict[str, str] | None = None
) -> web.Response:
    """Return a failure, of the flag that was asked for where there is one."""
    key = request.match_info.get("key")
    body = msgspec.json.encode(msgspec.structs.replace(failure, key=key))
    return respond(request, body, header_lines(headers or {}), status=status)


def _headers_of(error: AppError) -> dict[str, str]:
    if isinstance(error, Unauthenticated):
        return {hdrs.WWW_AUTHENTICATE: 'Bearer realm="flagstone"'}
    if isinstance(error, Unavailable):
        return {hdrs.RETRY_AFTER: str(error.retry_after_seconds)}
    return {}
