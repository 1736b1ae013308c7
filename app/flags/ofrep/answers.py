"""OFREP answers: errors in its own format, and CORS headers for clients in browsers."""

from collections.abc import Sequence
from http import HTTPStatus

import msgspec
from aiohttp import web

from app.errors import AppError
from app.flags.ofrep.cors import CORS
from app.http.encoded import EncodedResponse
from app.http.fast_path import HotAnswer
from app.http.frame import route_of
from app.http.headers import header_lines
from app.http.keys import ORDINARY, Handler
from app.http.problems import STATUS, headers_of
from app.log import logger

log = logger(__name__)


class EvaluationFailure(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"
):
    """The body of every failure, such as evaluationFailure and bulkEvaluationFailure of OFREP."""

    key: str | None = None
    error_code: str
    error_details: str


class EvaluationError(Exception):
    """A failure that OFREP defines. `status` is 400 or 404."""

    def __init__(self, code: str, details: str, *, status: int = 400) -> None:
        super().__init__(details)
        self.failure = EvaluationFailure(error_code=code, error_details=details)
        self.status = status


_BUG = EvaluationFailure(
    error_code="GENERAL",
    error_details="An unexpected error occurred. The log has details under the X-Request-ID.",
)


def with_ofrep_errors(handler: Handler) -> Handler:
    """Wrap a handler: answer every exception in OFREP's format, with CORS headers."""

    async def answer(request: web.Request) -> web.StreamResponse:
        try:
            return await handler(request)
        except (EvaluationError, AppError) as error:
            return _refused(request, error)
        except ConnectionError:
            raise  # the client has disconnected
        except Exception:
            log.exception("request_failed", method=request.method, route=route_of(request))
            return _failed(request, _BUG, 500)

    return answer


def hot_with_ofrep_errors(answer: HotAnswer) -> HotAnswer:
    """Wrap a hot answer: answer every expected error in OFREP's format."""

    def answer_with_errors(request: web.Request, body: bytes) -> EncodedResponse | None:
        try:
            return answer(request, body)
        except (EvaluationError, AppError) as error:
            return _refused(request, error)

    return answer_with_errors


def respond(
    request: web.Request, body: bytes | Sequence[bytes], head: bytes = b"", *, status: int = 200
) -> EncodedResponse:
    """Return an answer with an encoded JSON body; `head` has its additional header lines."""
    lines = b"%bContent-Type: application/json\r\nContent-Length: %d\r\n%b" % (
        request.app[CORS].head(request),
        len(body) if isinstance(body, bytes) else sum(map(len, body)),
        head,
    )
    return EncodedResponse(body, lines, status=status)


def _refused(request: web.Request, error: EvaluationError | AppError) -> EncodedResponse:
    if isinstance(error, AppError):
        failure = EvaluationFailure(error_code="GENERAL", error_details=error.message)
        return _failed(request, failure, STATUS[type(error)], headers_of(error))
    if error.status == HTTPStatus.NOT_FOUND:
        request[ORDINARY] = True
    return _failed(request, error.failure, error.status)


def _failed(
    request: web.Request,
    failure: EvaluationFailure,
    status: int,
    headers: dict[str, str] | None = None,
) -> EncodedResponse:
    """Return a failure, with the key of the requested flag if there is one."""
    key = request.match_info.get("key")
    if key is not None:
        # Bytes that are not UTF-8 are lone surrogates in the key.
        key = key.encode(errors="replace").decode()
    body = msgspec.json.encode(msgspec.structs.replace(failure, key=key))
    return respond(request, body, header_lines(headers or {}), status=status)
