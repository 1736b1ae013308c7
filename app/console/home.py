"""The start of the console: it leads to the flags of an environment."""

from aiohttp import web

from app.configuration.snapshots.reading import FOLLOWER
from app.console.pages import redirect
from app.console.rendering import frame, page
from app.errors import NotFound

# Read from a cookie, so that a person returns to the environment of the last visit.
ENVIRONMENT_COOKIE = "flagstone-environment"


async def get_console(request: web.Request) -> web.Response:
    """Lead to the flags of the environment of the last visit, or of the first one."""
    around = frame(request)
    names = [environment.name for environment in around.environments]
    if not names:
        return page(request, "no_environments.html")
    last = request.cookies.get(ENVIRONMENT_COOKIE)
    return redirect(around.url_in(last if last in names else names[0], "flags"))


async def get_environment(request: web.Request) -> web.Response:
    """Lead to the flags of an environment. Raises NotFound."""
    environment = request.app[FOLLOWER].get(request.match_info["environment"]).environment
    return redirect(frame(request).url_in(environment.name, "flags"))


async def get_unknown_page(request: web.Request) -> web.Response:
    """Answer a path of the console that does not exist. Raises NotFound."""
    raise NotFound("page_unknown", f"There is no page {request.path}.")
