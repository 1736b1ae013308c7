"""What hangs on the application and on the request, by typed key."""

import asyncio
from collections.abc import Awaitable, Callable

from aiohttp import web

from app.database import Database
from app.http.budget import BodyBudget
from app.http.durations import Durations
from app.http.lifecycle import Lifecycle
from app.settings import Settings
from app.threads import ThreadLimiter

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

SETTINGS: web.AppKey[Settings] = web.AppKey("settings", Settings)
DATABASE: web.AppKey[Database] = web.AppKey("database", Database)
LIFECYCLE: web.AppKey[Lifecycle] = web.AppKey("lifecycle", Lifecycle)
DURATIONS: web.AppKey[Durations] = web.AppKey("durations", Durations)
BUDGET: web.AppKey[BodyBudget] = web.AppKey("budget", BodyBudget)
# Where large bodies are decoded, one at a time.
DECODE_LIMITER: web.AppKey[ThreadLimiter] = web.AppKey("decode_limiter", ThreadLimiter)
# The header lines of every answer, for those that are written as bytes.
COMMON_HEAD: web.AppKey[bytes] = web.AppKey("common_head", bytes)

# The body of a write, as it was received.
BODY: web.RequestKey[bytes] = web.RequestKey("body", bytes)
DEADLINE: web.RequestKey[asyncio.Timeout] = web.RequestKey("deadline", asyncio.Timeout)
# A refusal that is as ordinary as a good answer, and no more worth a line of the log.
ORDINARY: web.RequestKey[bool] = web.RequestKey("ordinary", bool)
# Headers that replace those of every answer.
OWN_HEADERS: web.RequestKey[dict[str, str]] = web.RequestKey("own_headers", dict[str, str])
REQUEST_ID: web.RequestKey[str] = web.RequestKey("request_id", str)
