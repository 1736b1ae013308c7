"""The address under which a client reaches this service, for commands and links to copy."""

from aiohttp import web

from app.errors import malformed
from app.http.keys import SETTINGS


def service_address(request: web.Request) -> str:
    """Return PUBLIC_URL, by default the address of the request. Raises Malformed."""
    return request.app[SETTINGS].http.public_url or request_address(request)


def request_address(request: web.Request) -> str:
    """Return the address that the header Host names. Raises Malformed if it is not ASCII."""
    if not request.host.isascii():
        raise malformed("Host", "must be ASCII")
    return f"{request.scheme}://{request.host}"
