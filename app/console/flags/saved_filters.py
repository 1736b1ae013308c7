"""Filters that a person has saved under a name. They are links, stored in a cookie."""

from urllib.parse import parse_qsl, quote, unquote, urlencode

from aiohttp import web

from app.access.sessions.cookie import is_secure
from app.console.flags.filters import FlagFilter, read_filter
from app.console.forms import read_form
from app.console.pages import redirect
from app.console.rendering import frame
from app.errors import AppError, invalid

COOKIE = "flagstone-filters"
NAME_MAX = 40
# Browsers store at most 4 KB for a cookie.
_BYTES_MAX = 3_500
_SECONDS = 365 * 24 * 3600

SavedFilters = dict[str, FlagFilter]


def read_saved_filters(request: web.Request) -> SavedFilters:
    """Return the filters by name. A filter that is no longer valid is left out."""
    saved: SavedFilters = {}
    for part in request.cookies.get(COOKIE, "").split("&"):
        name, _, query = part.partition("=")
        try:
            chosen = read_filter(dict(parse_qsl(unquote(query))))
        except AppError:
            continue
        if name and chosen.is_restricting:
            saved[unquote(name)] = chosen
    return saved


async def post_saved_filter(request: web.Request) -> web.Response:
    """Save a filter under a name, or forget it. Raises Invalid."""
    form = await read_form(request)
    name, chosen = form.get("name", "").strip(), read_filter(form)
    saved = read_saved_filters(request)
    if form.get("action") == "forget":
        saved.pop(name, None)
    elif not 1 <= len(name) <= NAME_MAX:
        raise invalid("name", f"must have 1 to {NAME_MAX} characters")
    else:
        saved[name] = chosen
    around = frame(request)
    response = redirect(around.url("flags", **chosen.parameters))
    text = "&".join(
        f"{quote(name, safe='')}={quote(urlencode(each.parameters), safe='')}"
        for name, each in sorted(saved.items())
    )
    if len(text) > _BYTES_MAX:
        raise invalid("name", "cannot be saved, because there are too many. Forget one first")
    response.set_cookie(
        COOKIE,
        text,
        path=f"{around.root}/console",
        max_age=_SECONDS,
        secure=is_secure(request),
        httponly=True,
        samesite="Strict",
    )
    return response
