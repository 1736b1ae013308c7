"""`GET /`: a page for browsers, and JSON for other clients. Both link to the API documentation."""

import base64
import hashlib

import msgspec
from aiohttp import hdrs, web

from app import VERSION
from app.http.keys import OWN_HEADERS

_STYLE = """
:root { color-scheme: light dark; }
body { font: 1rem/1.5 system-ui, sans-serif; margin: 10vh auto; max-width: 42rem; padding: 0 1rem; }
h1 small { font-weight: normal; opacity: .65; }
pre { border: 1px solid #8886; border-radius: 4px; overflow-x: auto; padding: .5rem .75rem; }
"""
_DIGEST = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_POLICY = (
    f"default-src 'none'; style-src 'sha256-{_DIGEST}'; img-src data:; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
# The links are relative, so that they also lead here behind a proxy that adds a path prefix.
_PAGE = f"""\
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>Flagstone</title>
<meta name="viewport" content="width=device-width">
<link rel="icon" href="data:,">
<style>{_STYLE}</style>
<h1>Flagstone <small>{VERSION}</small></h1>
<p>Configuration and feature flags. This service answers an HTTP API.</p>
<ul>
<li><a href="docs">API documentation</a>, and the same as <a href="openapi.json">OpenAPI 3.1</a>
<li><a href="health/ready">Health</a> of this instance
</ul>
<p>Guides are in the folder <code>docs/</code> of the source code. <code>make docs-serve</code>
shows them as a site.</p>
<h2>Get a token</h2>
<p>In the local tier, the first start writes an admin token to a file in <code>DATA_DIR</code>:</p>
<pre><code>cat .data/admin-token</code></pre>
<p>In other tiers, an operator creates a token with access to the database:</p>
<pre><code>make token args="ci --scope evaluate --environment production"</code></pre>
<p>Send it as <code>Authorization: Bearer TOKEN</code>.</p>
</html>
"""
_JSON = msgspec.json.encode(
    {
        "name": "Flagstone",
        "version": VERSION,
        "documentation": "docs",
        "openapi": "openapi.json",
        "health": "health/ready",
    }
)


async def get_home(request: web.Request) -> web.Response:
    """Get the name, the version and links.

    A browser gets a page, which also says how to get a token. The links are relative to this URL.
    """
    if "text/html" not in request.headers.get(hdrs.ACCEPT, ""):
        return web.Response(body=_JSON, content_type="application/json")
    request[OWN_HEADERS] = {"Content-Security-Policy": _POLICY}
    return web.Response(text=_PAGE, content_type="text/html")
