"""The cookie of a session, and the addresses to which a sign-in may lead.

Over TLS the name begins with `__Host-`, so that no other host of the same domain can set it.
"""

import re
from urllib.parse import unquote, urlsplit

from aiohttp import hdrs, web

from app.access.events import AccessEvent
from app.access.guard import log_refusal
from app.access.sessions.service import LIFETIME
from app.errors import Forbidden, Malformed
from app.http.client_address import parse_address
from app.http.keys import SETTINGS
from app.settings import Tier

SECURE_NAME, PLAIN_NAME = "__Host-flagstone", "flagstone"
START = "/console"
_INSECURE = "sign_in_insecure"
_NEXT_LENGTH_MAX = 2_000
# Printable ASCII without the backslash, which browsers read as a slash.
_OWN_PAGE = re.compile(r"/console(?:[/?][!-\[\]-~]*)?")


def is_secure(request: web.Request) -> bool:
    """Return whether browsers reach this service over TLS, by PUBLIC_URL.

    TLS ends at a proxy. So the connection of a request does not show it.
    """
    return (request.app[SETTINGS].http.public_url or "").startswith("https:")


def read_cookie(request: web.Request) -> str:
    """Return the text of the session, or an empty string. Raises Malformed for two."""
    return read_single(request, _name(request))


def read_single(request: web.Request, name: str) -> str:
    """Return the text of a cookie, or an empty string.

    Raises Malformed for two cookies of the name. Another host of the domain may have set one, to
    sign this browser in as another person.
    """
    pairs = ";".join(request.headers.getall(hdrs.COOKIE, ())).split(";")
    texts = [
        text for key, _, text in (pair.strip().partition("=") for pair in pairs) if key == name
    ]
    if len(texts) > 1:
        raise Malformed("two_sessions", f"Delete the cookies named {name}, then sign in again.")
    return texts[0] if texts else ""


def set_cookie(request: web.Request, response: web.Response, text: str) -> None:
    response.set_cookie(
        _name(request),
        text,
        max_age=int(LIFETIME.total_seconds()),
        path="/",
        secure=is_secure(request),
        httponly=True,
        samesite="Strict",
    )


def delete_cookie(request: web.Request, response: web.Response) -> None:
    response.del_cookie(
        _name(request), path="/", secure=is_secure(request), httponly=True, samesite="Strict"
    )


def check_transport(request: web.Request) -> None:
    """Refuse to sign in where others on the network could read the cookie. Raises Forbidden.

    The local tier, and a loopback address behind a tunnel, need no TLS.
    """
    settings = request.app[SETTINGS]
    if (
        settings.tier is not Tier.LOCAL
        and not is_secure(request)
        and not _is_loopback(request.host)
    ):
        log_refusal(request, AccessEvent.LOGIN_FAIL, _INSECURE)
        raise Forbidden(
            _INSECURE,
            "Signing in needs TLS. Set PUBLIC_URL to the https address of this service.",
        )


def safe_next(text: str, root: str = "") -> str:
    """Return the address if it is a page of the console, below the path prefix `root`.

    Otherwise return the console's start.
    """
    path = text.removeprefix(root)
    is_own = len(path) <= _NEXT_LENGTH_MAX and _OWN_PAGE.fullmatch(path) is not None
    if not text.startswith(root) or not is_own or ".." in unquote(urlsplit(path).path).split("/"):
        return root + START
    return text


def _name(request: web.Request) -> str:
    return SECURE_NAME if is_secure(request) else PLAIN_NAME


def _is_loopback(host: str) -> bool:
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    address = parse_address(name)
    return name == "localhost" if address is None else address.is_loopback
