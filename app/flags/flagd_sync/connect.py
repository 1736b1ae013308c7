"""Errors of the Connect protocol: a JSON object with a code and a message."""

from http import HTTPStatus

import msgspec
from aiohttp import web

from app.errors import AppError, Invalid
from app.flags.flagd_sync.status import Code, code_of
from app.http.encoded import EncodedResponse, encoded
from app.http.frame import route_of
from app.http.headers import header_lines
from app.http.keys import Handler
from app.http.problems import STATUS, headers_of
from app.log import logger

log = logger(__name__)


class ConnectError(msgspec.Struct, frozen=True, kw_only=True):
    """The body of every error."""

    code: Code
    message: str


_BUG = ConnectError(
    code=Code.INTERNAL,
    message="An unexpected error occurred. The log has details under the X-Request-ID.",
)


def with_connect_errors(handler: Handler) -> Handler:
    """Wrap a handler: answer every exception as the Connect protocol requires."""

    async def answer(request: web.Request) -> web.StreamResponse:
        try:
            return await handler(request)
        except AppError as error:
            body = ConnectError(code=code_of(error), message=error.message)
            status = STATUS[type(error)]
            if isinstance(error, Invalid):
                status = HTTPStatus.BAD_REQUEST
            return _failed(body, status, header_lines(headers_of(error)))
        except ConnectionError:
            raise  # the client has disconnected
        except Exception:
            log.exception("request_failed", method=request.method, route=route_of(request))
            return _failed(_BUG, 500)

    return answer


def _failed(error: ConnectError, status: int, head: bytes = b"") -> EncodedResponse:
    return encoded(msgspec.json.encode(error), "application/json", head, status=status)
