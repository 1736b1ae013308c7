"""Refuses with 421 at a relay: writes, and reads that need the database of the service."""

from typing import Any, NoReturn

from aiohttp import web

from app.database import Database
from app.errors import Misdirected
from app.http import wire
from app.http.keys import Handler
from app.relay import protocol
from app.relay.path import RelayPath
from app.settings import DatabaseSettings


class NoDatabase(Database):
    """Stands for the database in the handlers of a relay. Each use raises Misdirected."""

    def __init__(self, settings: DatabaseSettings, upstream: str) -> None:
        super().__init__(settings)
        self._upstream = upstream

    def connection(self) -> NoReturn:
        raise Misdirected(self._upstream)

    async def transact(self, *_: Any, **__: Any) -> NoReturn:
        raise Misdirected(self._upstream)


def misdirected(upstream: str) -> Handler:
    """Return a handler that refuses each request."""

    async def refuse(_: web.Request) -> web.StreamResponse:
        raise Misdirected(upstream)

    return refuse


def without_secrets(handler: Handler, upstream: str) -> Handler:
    """Return the handler, which refuses to reveal secrets: a relay has none."""

    async def handle(request: web.Request) -> web.StreamResponse:
        if "?" in request.raw_path and wire.flag(request.query, "reveal"):
            raise Misdirected(upstream)
        return await handler(request)

    return handle


def outside_circles(handler: Handler, path: RelayPath) -> Handler:
    """Return the handler, which refuses requests that come from this relay itself."""

    async def handle(request: web.Request) -> web.StreamResponse:
        path.check(request.headers.get(protocol.PATH_HEADER, ""))
        return await handler(request)

    return handle
