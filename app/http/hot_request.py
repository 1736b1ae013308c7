"""The request that the fast path gives to the functions of hot routes."""

from typing import TYPE_CHECKING

from aiohttp import HttpVersion11, web
from aiohttp.http import RawRequestMessage
from multidict import MultiMapping
from yarl import URL

if TYPE_CHECKING:
    from app.http.protocol import GuardedConnection


class HotRequest(web.Request):
    """The head of a complete request. It has neither a task nor a writer.

    Slots and properties replace what aiohttp computes for every request.
    """

    __slots__ = ("app", "connection", "headers", "match_info", "method", "raw_path")
    _version = HttpVersion11

    def __init__(
        self, app: web.Application, message: RawRequestMessage, connection: "GuardedConnection"
    ) -> None:
        self.app = app  # type: ignore[misc]  # a property of aiohttp
        self.connection = connection
        self.headers = message.headers
        self.method = message.method
        self.raw_path = message.path
        self._message = message
        self._state = {}
        self._cache = {}

    def __contains__(self, key: object) -> bool:
        return key in self._state

    @property
    def rel_url(self) -> URL:
        return self._message.url

    @property
    def query(self) -> MultiMapping[str]:
        return self._message.url.query

    @property
    def scheme(self) -> str:
        return "http" if self.connection.ssl_context is None else "https"

    @property
    def remote(self) -> str | None:
        peer = self.connection.peername
        return str(peer[0]) if isinstance(peer, tuple) else peer
