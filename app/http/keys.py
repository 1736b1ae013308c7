"""Typed keys of objects that are stored on the application and on requests."""

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Protocol

from aiohttp import web
from aiohttp.abc import AbstractAccessLogger

from app.database import Database
from app.http.budget import BodyBudget
from app.http.durations import Durations
from app.http.lifecycle import Lifecycle
from app.settings import Settings
from app.threads import ThreadLimiter

if TYPE_CHECKING:
    from app.http.request_log import RequestLogger

# The recorded span of the current request, while telemetry is on.
CURRENT_SPAN: ContextVar[Any] = ContextVar("current_span", default=None)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Tracing(Protocol):
    """Wraps the application and its request log, to record a span per request."""

    def around(self, handle: Handler, /) -> Handler: ...

    def after(self, logger: "RequestLogger", /) -> AbstractAccessLogger: ...


SETTINGS: web.AppKey[Settings] = web.AppKey("settings", Settings)
DATABASE: web.AppKey[Database] = web.AppKey("database", Database)
LIFECYCLE: web.AppKey[Lifecycle] = web.AppKey("lifecycle", Lifecycle)
# Only set while telemetry is on.
TRACING: web.AppKey[Tracing] = web.AppKey("tracing", Tracing)
DURATIONS: web.AppKey[Durations] = web.AppKey("durations", Durations)
BUDGET: web.AppKey[BodyBudget] = web.AppKey("budget", BodyBudget)
# Decodes large bodies, one at a time.
DECODE_LIMITER: web.AppKey[ThreadLimiter] = web.AppKey("decode_limiter", ThreadLimiter)
# The header lines of every answer, for EncodedResponse.
COMMON_HEAD: web.AppKey[bytes] = web.AppKey("common_head", bytes)

# The raw body of a write.
BODY: web.RequestKey[bytes] = web.RequestKey("body", bytes)
DEADLINE: web.RequestKey[asyncio.Timeout] = web.RequestKey("deadline", asyncio.Timeout)
# Marks an error that is logged no more often than a success.
ORDINARY: web.RequestKey[bool] = web.RequestKey("ordinary", bool)
# Headers that replace common headers of the same name.
OWN_HEADERS: web.RequestKey[dict[str, str]] = web.RequestKey("own_headers", dict[str, str])
REQUEST_ID: web.RequestKey[str] = web.RequestKey("request_id", str)
