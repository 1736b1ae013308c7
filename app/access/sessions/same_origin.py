"""Refuse a request that another site causes in the browser of a person who is signed in."""

from urllib.parse import urlsplit

from aiohttp import hdrs, web
from multidict import istr

from app.errors import Forbidden
from app.http.keys import SETTINGS

CROSS_SITE = "cross_site"
SEC_FETCH_SITE = istr("Sec-Fetch-Site")


def check_same_origin(request: web.Request) -> None:
    """Raise Forbidden unless the browser says that a page of this service made the request.

    Browsers send Sec-Fetch-Site to secure addresses only. Elsewhere, Origin must name this host.
    """
    site = request.headers.get(SEC_FETCH_SITE)
    if site is None and _names_us(request, request.headers.get(hdrs.ORIGIN, "")):
        return
    if site != "same-origin":
        raise Forbidden(
            CROSS_SITE,
            "This request did not come from a page of this console. Open the console, and repeat "
            "it there.",
        )


def _names_us(request: web.Request, origin: str) -> bool:
    public = urlsplit(request.app[SETTINGS].http.public_url or "")
    _, _, host = origin.partition("://")
    if host and host == public.netloc:
        # Behind TLS, no page of this host without TLS: others on the network can write one.
        return origin == f"{public.scheme}://{host}"
    return bool(host) and host == request.host
