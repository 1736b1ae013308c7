"""The start of the console: it leads to the flags of an environment."""

from aiohttp import web

from app.configuration.snapshots.reading import FOLLOWER
from app.console.pages import redirect
from app.console.rendering import frame, page
from app.errors import NotFound


async def get_console(request: web.Request) -> web.Response:
    """Lead to the flags of the environment of the last visit, or of the first one."""
    around = frame(request)
    if around.menu_environment is None:
        return page(request, "no_environments.html")
    return redirect(around.url_in(around.menu_environment.name, "flags"))


async def get_environment(request: web.Request) -> web.Response:
    """Lead to the flags of an environment. Raises NotFound."""
    environment = request.app[FOLLOWER].require(request.match_info["environment"])
    return redirect(frame(request).url_in(environment.name, "flags"))


async def get_database_away(request: web.Request) -> web.Response:
    """Return the banner of an absent database again, or remove it from the page."""
    is_back = not frame(request).stale_seconds
    headers = {"HX-Reswap": "delete"} if is_back else {}
    return page(request, "_database_away.html", headers=headers)


async def get_unknown_page(request: web.Request) -> web.Response:
    """Answer a path of the console that does not exist. Raises NotFound."""
    raise NotFound("page_unknown", f"There is no page {request.path}.")
