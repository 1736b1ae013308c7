"""Errors of a server in words: no connection, no Flagstone, or a problem of the API."""

import aiohttp
import msgspec

from app.errors import (
    AppError,
    ApprovalRequired,
    ForeseenError,
    RetryLater,
    Stale,
    Unauthenticated,
    Violation,
    reason,
)
from app.http.problems import CONTENT_TYPE, STATUS, Problem

# ApprovalRequired has members for servers only.
_CLASSES = {status.value: kind for kind, status in STATUS.items() if kind is not ApprovalRequired}
_MAY_BE_WRITTEN = " The write may have succeeded: read the entry before you repeat the command."
_UNAUTHENTICATED = " Check that the token is one of this server, and has not expired."
# The first that matches.
_REFUSALS: dict[type[Exception], str] = {
    aiohttp.ClientSSLError: "TLS failed. Does the server need http:// instead?",
    aiohttp.ClientConnectorDNSError: "the host name is unknown.",
    aiohttp.ConnectionTimeoutError: "no connection in time. Check the URL.",
    aiohttp.InvalidURL: "is not a URL.",
}


class ServerError(ForeseenError):
    """The server cannot be reached, or does not answer like Flagstone.

    `may_pass`: another attempt may succeed.
    """

    def __init__(self, message: str, *, may_pass: bool = False) -> None:
        super().__init__(message)
        self.may_pass = may_pass


def of_client(url: str, error: Exception, *, is_write: bool) -> ServerError:
    """Return the error for a request without an answer."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        cause = error.certificate_error
        why = getattr(cause, "verify_message", None) or str(cause)
        rule = "SSL_CERT_FILE names a file of further authorities"
        return ServerError(f"{url}: its certificate is not accepted: {why}. {rule}.")
    for kind, text in _REFUSALS.items():
        if isinstance(error, kind):
            return ServerError(f"{url}: {text}")
    if isinstance(error, aiohttp.ClientConnectorError):
        why = reason(error.os_error)
        return ServerError(f"{url}: {why}. Check the URL, and that the server runs.")
    rest = _MAY_BE_WRITTEN if is_write else ""
    if isinstance(error, TimeoutError):
        return ServerError(f"{url}: no answer in time.{rest}")
    if isinstance(error, (aiohttp.ServerDisconnectedError, aiohttp.ClientPayloadError, OSError)):
        return ServerError(f"{url}: the connection was lost.{rest}", may_pass=True)
    return ServerError(f"{url}: the answer is not HTTP. Does the server need https:// instead?")


def of_problem(url: str, status: int, content_type: str, raw: bytes) -> ForeseenError:
    """Return the error that the server reports, as the command would raise it on a database."""
    problem = _decoded(raw) if content_type == CONTENT_TYPE else None
    if problem is None:
        return ServerError(
            f"{url}: the answer is {status} {_printable(content_type)}, not one of Flagstone."
            " Check the URL, and the path before /v1 if a proxy adds one."
        )
    detail = _printable(problem.detail)
    if status == 401:
        detail += _UNAUTHENTICATED
    violations = [
        Violation(_printable(each.field), _printable(each.rule)) for each in problem.errors
    ]
    kind = _CLASSES.get(status)
    if kind is None:
        return ServerError(f"{url}: {detail} Request ID: {_printable(problem.request_id)}")
    if kind is Stale:
        return Stale(detail, version=problem.version, epoch="", violations=violations)
    if issubclass(kind, (Unauthenticated, RetryLater)):
        # They have members for servers only.
        kind = AppError
    return kind(problem.code, detail, violations)


def _decoded(raw: bytes) -> Problem | None:
    try:
        return msgspec.json.decode(raw, type=Problem)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None


def not_flagstone(url: str, raw: bytes, error: Exception) -> ServerError:
    """Return the error for an answer that cannot be decoded."""
    if raw.lstrip()[:1] in {b"{", b"["}:
        return ServerError(
            f"{url}: the answer differs from that of this release: {_printable(str(error))}."
            " Use a command line of the server's release."
        )
    return ServerError(f"{url}: the answer is not one of Flagstone. Check the URL.")


def _printable(text: str) -> str:
    """Return text of a server without control characters, which a terminal would obey."""
    return "".join(char if char.isprintable() else "?" for char in text)
