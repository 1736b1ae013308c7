"""The console in the router. Its modules are imported when the first page is requested.

Many instances never show a page. They start earlier, and take less memory.
"""

import asyncio
from collections.abc import Callable

from aiohttp import web

from app.threads import in_thread

_PATHS = ("/console", r"/console/{path:[\s\S]*}")


class Console:
    """Answers the requests to the console. The first one imports its pages, in a thread."""

    def __init__(self, app: web.Application) -> None:
        self._app = app
        self._pages: web.Application | None = None
        self._lock = asyncio.Lock()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        await self._route(request)
        return await request.match_info.handler(request)

    async def expect(self, request: web.Request) -> web.StreamResponse | None:
        await self._route(request)
        return await request.match_info.expect_handler(request)

    async def pages(self) -> web.Application:
        """Return the application of the pages."""
        if self._pages is None:
            async with self._lock:
                if self._pages is None:
                    self._pages = await in_thread("console", self._load)
        return self._pages

    def _load(self) -> web.Application:
        pages = web.Application()
        # An inner application of aiohttp has objects of its own. Pages use those of the service.
        pages._state = self._app._state  # noqa: SLF001
        import_pages()(pages)
        pages.freeze()
        return pages

    async def _route(self, request: web.Request) -> None:
        """Replace the route of the request by the one of its page, as aiohttp's router sets it."""
        match = await (await self.pages()).router.resolve(request)
        match.add_app(self._app)
        match.freeze()
        request._match_info = match  # noqa: SLF001


CONSOLE: web.AppKey[Console] = web.AppKey("console", Console)


def reserve_console(app: web.Application) -> None:
    """Route the paths of the console to its pages, which are not imported yet."""
    app[CONSOLE] = console = Console(app)
    for path in _PATHS:
        app.router.add_route("*", path, console.handle, expect_handler=console.expect)


def import_pages() -> Callable[[web.Application], None]:
    """Import the pages, and return the function that adds them to an application."""
    from app.console.routes import add_console  # noqa: PLC0415 - a quarter of all modules

    return add_console
