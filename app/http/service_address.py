"""The address under which a client reaches this service, for commands and links to copy."""

import re
from urllib.parse import urlsplit

from aiohttp import web

from app.errors import malformed
from app.http.keys import SETTINGS

# A name or an address with brackets, and a port. Any client may send other text.
_HOST = re.compile(r"([a-z0-9._-]{1,253}|\[[0-9a-f:.]{2,45}\])(?::[0-9]*)?", re.IGNORECASE)


def service_address(request: web.Request) -> str:
    """Return PUBLIC_URL, by default the address of the request. Raises Malformed."""
    return request.app[SETTINGS].http.public_url or request_address(request)


def request_address(request: web.Request) -> str:
    """Return the address that the header Host names. Raises Malformed if it is not ASCII."""
    if not request.host.isascii():
        raise malformed("Host", "must be ASCII")
    return f"{request.scheme}://{request.host}"


def other_host(request: web.Request) -> str | None:
    """Return the host that the request names, if it is another one than that of PUBLIC_URL.

    Ports do not matter, since the cookies of a host belong to all of its ports.
    """
    public = urlsplit(request.app[SETTINGS].http.public_url or "").hostname
    named = _HOST.fullmatch(request.host)
    if public is None or named is None:
        return None
    host = named[1].lower()
    return None if host.strip("[]") == public else host
