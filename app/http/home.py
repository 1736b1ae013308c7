"""`GET /`: browsers are led to the console, other clients get JSON with links."""

import msgspec
from aiohttp import hdrs, web

from app import VERSION

# The links are relative, so that they also lead here behind a proxy that adds a path prefix.
_CONSOLE = "console"
_JSON = msgspec.json.encode(
    {
        "name": "Flagstone",
        "version": VERSION,
        "console": _CONSOLE,
        "documentation": "docs",
        "openapi": "openapi.json",
        "health": "health/ready",
    }
)


async def get_home(request: web.Request) -> web.Response:
    """Get the name, the version and links.

    A browser is led to the console. The links are relative to this URL.
    """
    if "text/html" in request.headers.get(hdrs.ACCEPT, ""):
        return web.Response(status=303, headers={hdrs.LOCATION: _CONSOLE})
    return web.Response(body=_JSON, content_type="application/json")
