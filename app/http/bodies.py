"""A request's body, whole, within the limits of size and time."""

import asyncio

from aiohttp import web

from app.errors import TooLarge, TooSlow, Violation, malformed
from app.http.decoder import BODY_BYTES_MAX
from app.http.keys import SETTINGS


async def read_whole(request: web.Request, bytes_max: int = BODY_BYTES_MAX) -> bytes:
    """Return the body; one of the usual limit is kept. Raises TooLarge, TooSlow or Malformed."""
    # Before a single byte is read: a declared ten gigabytes is refused at once.
    if (request.content_length or 0) > bytes_max:
        raise _too_large(bytes_max)
    source: web.BaseRequest = request
    if bytes_max != BODY_BYTES_MAX:
        source = request.clone(client_max_size=bytes_max)
    try:
        async with asyncio.timeout(request.app[SETTINGS].http.body_timeout_seconds):
            return await source.read()
    except web.HTTPRequestEntityTooLarge:
        raise _too_large(bytes_max) from None
    except TimeoutError:
        raise TooSlow("body_too_slow", "The body did not arrive in time.") from None
    except web.RequestPayloadError:
        raise malformed("body", "is not framed as HTTP requires") from None


async def take_whole(request: web.Request) -> bytes:
    """Return the body once, which costs less: what came with its head is neither waited for nor
    kept.
    """
    content = request.content
    if content.is_eof() and content.total_bytes <= BODY_BYTES_MAX:
        return content.read_nowait()
    return await read_whole(request)


def _too_large(bytes_max: int) -> TooLarge:
    rule = f"must not be larger than {bytes_max} bytes"
    return TooLarge("body_too_large", f"The body {rule}.", [Violation("body", rule)])
