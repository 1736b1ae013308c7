"""What hangs on the application and on the request, by typed key."""

from aiohttp import web

from app.database import Database
from app.http.lifecycle import Lifecycle
from app.settings import Settings

SETTINGS: web.AppKey[Settings] = web.AppKey("settings", Settings)
DATABASE: web.AppKey[Database] = web.AppKey("database", Database)
LIFECYCLE: web.AppKey[Lifecycle] = web.AppKey("lifecycle", Lifecycle)

REQUEST_ID: web.RequestKey[str] = web.RequestKey("request_id", str)
