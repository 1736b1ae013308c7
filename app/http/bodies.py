"""Read request bodies within limits of size, time and memory.

All bodies of the process share one budget. Bytes count when they arrive, not when Content-Length
announces them: a client that announces a large body and sends nothing uses none of the budget.
"""

import asyncio
from collections.abc import AsyncGenerator

from aiohttp import hdrs, web

from app.errors import (
    Malformed,
    TooLarge,
    TooSlow,
    Unimplemented,
    Unsupported,
    Violation,
    malformed,
)
from app.http.decoder import BODY_BYTES_MAX
from app.http.keys import BODY, BUDGET, SETTINGS
from app.threads import in_thread

# A client may pause for this share of BODY_TIMEOUT.
_PAUSE_SHARE = 1 / 3
_QUICK_BYTES = 1024 * 1024


async def receive_body(request: web.Request, bytes_max: int = BODY_BYTES_MAX) -> bytes:
    """Return the body of a write. It counts against the budget until `release_body`.

    Raises TooLarge, TooSlow, Unsupported, Unimplemented or Malformed.
    """
    _check_encoding(request)
    if BODY not in request:
        request[BODY] = await _receive(request, bytes_max)
    return request[BODY]


def release_body(request: web.Request) -> None:
    """Release the memory budget that the body of an answered write uses."""
    if BODY in request:
        request.app[BUDGET].give_back(len(request[BODY]))


async def receive_read_body(request: web.Request, bytes_max: int) -> bytes:
    """Return the body of a read. It uses the budget only until it has arrived."""
    _check_encoding(request)
    content = request.content
    if content.is_eof() and content.total_bytes <= bytes_max and not _is_chunked(request):
        return content.read_nowait()
    body = await _receive(request, bytes_max)
    request.app[BUDGET].give_back(len(body))
    return body


async def stream_body(request: web.Request, bytes_max: int) -> AsyncGenerator[bytes, None]:
    """Yield the parts of a large body, and retain none of them. Raises as `receive_body`.

    Only a pause of the client is limited: the handler limits the whole time.
    """
    _check_encoding(request)
    _check_framing(request, bytes_max)
    pause = request.app[SETTINGS].http.body_timeout_seconds * _PAUSE_SHARE
    size = 0
    while True:
        try:
            async with asyncio.timeout(pause):
                part = await request.content.readany()
        except TimeoutError:
            raise _too_slow() from None
        except web.RequestPayloadError:
            raise _badly_framed() from None
        if not part:
            return
        size += len(part)
        if size > bytes_max:
            raise too_large(bytes_max)
        yield part


async def _receive(request: web.Request, bytes_max: int) -> bytes:
    _check_framing(request, bytes_max)
    parts: list[bytes] = []
    try:
        await _collect(request, parts, bytes_max)
        if sum(map(len, parts)) <= _QUICK_BYTES:
            return parts[0] if len(parts) == 1 else b"".join(parts)
        # Joining 16 MiB takes 15 ms. It releases the interpreter, so the event loop can run.
        return await in_thread("join body", lambda: b"".join(parts))
    except BaseException as error:
        request.app[BUDGET].give_back(sum(map(len, parts)))
        if isinstance(error, TimeoutError):
            raise _too_slow() from None
        if isinstance(error, web.RequestPayloadError):
            raise _badly_framed() from None
        raise


def _check_framing(request: web.Request, bytes_max: int) -> None:
    # Refuse a large Content-Length before reading a byte.
    if (request.content_length or 0) > bytes_max:
        raise too_large(bytes_max)
    if _is_chunked(request) and request.headers[hdrs.TRANSFER_ENCODING].lower() != "chunked":
        raise Unimplemented(
            "transfer_encoding_unsupported", "The only supported transfer encoding is chunked."
        )


def _too_slow() -> TooSlow:
    return TooSlow("body_too_slow", "The body did not arrive within BODY_TIMEOUT.")


def _badly_framed() -> Malformed:
    return malformed("body", "must be framed as HTTP requires")


async def _collect(request: web.Request, parts: list[bytes], bytes_max: int) -> None:
    """Add each part of the body to the list and to the budget."""
    budget, size = request.app[BUDGET], 0
    loop, seconds = asyncio.get_running_loop(), request.app[SETTINGS].http.body_timeout_seconds
    end, pause = loop.time() + seconds, seconds * _PAUSE_SHARE
    async with asyncio.timeout(pause) as deadline:
        while part := await request.content.readany():
            size += len(part)
            if size > bytes_max:
                raise too_large(bytes_max)
            budget.take(len(part))
            parts.append(part)
            deadline.reschedule(min(end, loop.time() + pause))


def _check_encoding(request: web.Request) -> None:
    if request.headers.get(hdrs.CONTENT_ENCODING, "identity") != "identity":
        raise Unsupported("content_encoding_unsupported", "The body must not be compressed.")


def _is_chunked(request: web.Request) -> bool:
    return bool(request._message.chunked)  # noqa: SLF001 - saves a header look-up


def too_large(bytes_max: int) -> TooLarge:
    rule = f"must not be larger than {bytes_max} bytes"
    return TooLarge("body_too_large", f"The body {rule}.", [Violation("body", rule)])
