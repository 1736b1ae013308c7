"""The API as an OpenAPI document, and the page `/docs` that shows it.

`viewer/` has OpenAPI Explorer 2.4.820 as its authors built it, with its licences. The page loads
nothing from other hosts and runs no inline script; the viewer needs inline styles.
"""

import gzip
import hashlib
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec
from aiohttp import hdrs, web

from app.http.conditions import is_not_modified
from app.http.keys import OWN_HEADERS
from app.threads import in_turn

VIEWER_PATH = "/docs/openapi-explorer.js"
_VIEWER = Path(__file__).parent / "viewer" / "openapi-explorer.min.js.gz"
_POLICY = (
    "default-src 'none'; script-src 'self'; connect-src 'self'; style-src 'unsafe-inline'; "
    "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
# The links are relative, so that they also lead here behind a proxy that adds a path prefix.
_PAGE = """\
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>Flagstone API</title>
<meta name="viewport" content="width=device-width">
<link rel="icon" href="data:,">
<style>
@media (prefers-color-scheme: dark) {
  body { background: #1b1f24 }
  openapi-explorer {
    --bg: #1b1f24; --bg2: #22272e; --bg3: #2d333b; --light-bg: #2d333b; --input-bg: #22272e;
    --fg: #d5dbe1; --fg2: #c3cad2; --fg3: #a9b2bc; --light-fg: #8b949e;
    --placeholder-color: #8b949e; --border-color: #444c56; --light-border-color: #373e47;
    --hover-color: #2d333b;
    --inline-code-fg: #ffb4a8; --code-fg: #c3cad2; --code-property-color: #ff9bce;
    --code-keyword-color: #6cb6ff; --code-operator-color: #e3b341; --primary-color: #8ab4d8;
    --primary-btn-text-color: #1b1f24; --selection-bg: #444c56; --selection-fg: #fff;
  }
  a { color: #6cb6ff }
}
</style>
<script type="module" src="docs/openapi-explorer.js"></script>
<openapi-explorer spec-url="openapi.json" hide-server-selection default-schema-tab="body">
<p slot="authentication-header">In the local tier, paste the content of the file
<code>.data/admin-token</code> into <b>HTTP Bearer</b>.</p>
<p slot="overview-footer">This API as OpenAPI 3.1: <a href="openapi.json">openapi.json</a></p>
</openapi-explorer>
<noscript>This page needs JavaScript. The document above has the same content.</noscript>
</html>
"""


class Documentation:
    """The OpenAPI document and the viewer, as bytes, made when they are first requested."""

    def __init__(self, describe: Callable[[], Mapping[str, Any]]) -> None:
        self._describe = describe

    @cached_property
    def openapi(self) -> bytes:
        return msgspec.json.encode(self._describe())

    @cached_property
    def viewer(self) -> "Viewer":
        return Viewer(_VIEWER.read_bytes())


class Viewer:
    """The script of the page, compressed, and its ETags."""

    def __init__(self, zipped: bytes) -> None:
        self.zipped = zipped
        digest = hashlib.sha256(zipped).hexdigest()[:32]
        self.gzip_etag, self.plain_etag = f'"{digest}"', f'"plain-{digest}"'


DOCUMENTATION: web.AppKey[Documentation] = web.AppKey("documentation", Documentation)


async def get_openapi_document(request: web.Request) -> web.Response:
    """Get this API as an OpenAPI 3.1 document."""
    documentation = request.app[DOCUMENTATION]
    body = await in_turn("openapi", lambda: documentation.openapi)
    return web.Response(body=body, content_type="application/json")


async def get_documentation_page(request: web.Request) -> web.Response:
    """Get the page that shows this API."""
    request[OWN_HEADERS] = {"Content-Security-Policy": _POLICY}
    return web.Response(text=_PAGE, content_type="text/html")


async def get_documentation_script(request: web.Request) -> web.Response:
    """Get the script of the page /docs."""
    viewer = request.app[DOCUMENTATION].viewer
    request[OWN_HEADERS] = {"Cache-Control": "no-cache"}
    is_zipped = "gzip" in request.headers.get(hdrs.ACCEPT_ENCODING, "")
    # RFC 9110, 8.8.3.3: each encoding has its own strong ETag, or a cache would mix them up.
    etag = viewer.gzip_etag if is_zipped else viewer.plain_etag
    headers = {hdrs.ETAG: etag}
    if is_not_modified(request, etag):
        return web.Response(status=304, headers=headers)
    body = viewer.zipped
    if is_zipped:
        headers[hdrs.CONTENT_ENCODING] = "gzip"
    else:
        body = gzip.decompress(body)
    return web.Response(body=body, content_type="text/javascript", headers=headers)
