"""The page of a relay: its upstream, the age of what it serves, and its environments.

A relay has no console and no sign-in. The browser asks for a token, as the password of HTTP Basic.
The page changes nothing.
"""

import base64
import hashlib
from binascii import Error as Base64Error
from collections.abc import Iterable
from html import escape

from aiohttp import hdrs, web

from app import VERSION
from app.access.guard import CALLER, TOKENS, permit, refuse_credential
from app.access.models import Scope
from app.configuration.snapshots.broadcast import STREAMS
from app.errors import Forbidden, Unauthenticated, Unavailable
from app.http.keys import OWN_HEADERS, Handler
from app.relay.feed import FEED
from app.relay.source import UpstreamSource

_STYLE = """
body{font:16px/1.5 system-ui,sans-serif;max-width:48rem;margin:2rem auto;padding:0 1rem}
table{border-collapse:collapse;width:100%}
th,td{text-align:left;padding:.3rem .8rem .3rem 0;border-bottom:1px solid #8884}
td.number{text-align:right;font-variant-numeric:tabular-nums}
.away{color:#b00020;font-weight:600}
:root{color-scheme:light dark}
"""
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_HEADERS = {
    "Content-Security-Policy": f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; "
    "frame-ancestors 'none'"
}
SOURCE: web.AppKey[UpstreamSource] = web.AppKey("upstream_source", UpstreamSource)


def status_page(upstream: str) -> Handler:
    """Return the handler of the page."""

    async def get_status(request: web.Request) -> web.Response:
        request[OWN_HEADERS] = _HEADERS
        token = _password(request)
        try:
            permit(request, request.app[TOKENS].authenticate(token), [Scope.READ])
        except Unauthenticated as error:
            refusal = refuse_credential(request, error, token)
            if not isinstance(refusal, Unauthenticated):
                raise refusal from None
            return _asking("Enter a token of this service with the scope read as the password.")
        except Forbidden:
            return _asking("The token needs the scope read.")
        except Unavailable:
            text = _document(f"<p class=away>{escape(_problem(request))}</p>")
            return web.Response(text=text, status=503, content_type="text/html")
        return web.Response(text=_document(_body(request, upstream)), content_type="text/html")

    return get_status


def _password(request: web.Request) -> str:
    """Return the password of HTTP Basic, or an empty string."""
    scheme, _, encoded = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
    if scheme.lower() != "basic":
        return ""
    try:
        return base64.b64decode(encoded, validate=True).decode().partition(":")[2]
    except (Base64Error, ValueError):
        return ""


def _asking(text: str) -> web.Response:
    return web.Response(
        text=_document(f"<p>{escape(text)}</p>"),
        status=401,
        content_type="text/html",
        headers={hdrs.WWW_AUTHENTICATE: 'Basic realm="Flagstone relay", charset="UTF-8"'},
    )


def _problem(request: web.Request) -> str:
    return request.app[SOURCE].problem or "The relay has not finished starting."


def _body(request: web.Request, upstream: str) -> str:
    source, streams = request.app[SOURCE], request.app[STREAMS].by_environment
    stale, heard = source.stale_seconds, source.last_heard
    if source.problem is not None:
        state = f"<span class=away>{escape(source.problem)}</span>"
    else:
        state = "<span class=away>stale itself</span>" if stale else "connected"
    facts = (
        ("Upstream", f"{escape(upstream)}"),
        ("State", state),
        ("Hops to the database", str(source.depth)),
        ("Last confirmed", heard.strftime("%Y-%m-%d %H:%M:%S UTC") if heard else "from disk"),
        ("Age of what is served", f"{stale:.0f} s" if stale else "current"),
        ("Streams of relays below", str(request.app[FEED].streams)),
    )
    rows = "".join(f"<tr><th>{name}</th><td>{value}</td></tr>" for name, value in facts)
    rights = request[CALLER].rights
    environments = (
        (name, str(snapshot.revision), f"{len(snapshot.entries):,}", str(streams[name]))
        for name, snapshot in sorted(source.loaded().items())
        if rights.covers_all(Scope.READ, name)
    )
    head = "<tr><th>Environment</th><th>Revision</th><th>Entries</th><th>Streams</th></tr>"
    return f"<table>{rows}</table><h2>Environments</h2><table>{head}{_rows(environments)}</table>"


def _rows(rows: Iterable[tuple[str, ...]]) -> str:
    return "".join(
        f"<tr><td>{escape(first)}</td>"
        + "".join(f"<td class=number>{value}</td>" for value in rest)
        + "</tr>"
        for first, *rest in rows
    )


def _document(body: str) -> str:
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta http-equiv="refresh" content="10"><title>Flagstone relay</title>'
        f"<style>{_STYLE}</style></head><body><h1>Flagstone relay</h1>{body}"
        f"<p>Flagstone {VERSION}. A relay takes no changes: use the console of the service.</p>"
        "</body></html>"
    )
