"""`create_app` builds the application from its components and routes."""

from aiohttp import web

from app.configuration.snapshots.event_stream import wake_streams
from app.console.first_request import reserve_console
from app.flags.ofrep.cors import share_refusals
from app.http.decoder import BODY_BYTES_MAX
from app.http.frame import common_headers, set_common_headers
from app.http.headers import header_lines
from app.http.keys import COMMON_HEAD, LIFECYCLE
from app.server.components import add_components
from app.server.lifespan import lifespan
from app.server.routes import add_routes
from app.server.telemetry import add_telemetry
from app.server.workers import ONLY, Worker
from app.settings import Settings


def create_app(settings: Settings, worker: Worker = ONLY) -> web.Application:
    """Return the service, ready to be run; nothing is connected yet.

    Raises DataFolderError and KeyRingError.
    """
    app = web.Application(client_max_size=BODY_BYTES_MAX)
    if settings.relay.upstream is None:
        add_components(app, settings, worker)
        add_routes(app)
        reserve_console(app)
    else:
        from app.server.relay import add_relay  # noqa: PLC0415 - a service does not need it

        add_relay(app, settings, worker)
    add_telemetry(app)
    app[COMMON_HEAD] = header_lines(common_headers(settings.http))
    app.on_response_prepare.append(set_common_headers(settings.http, app[LIFECYCLE]))
    app.on_response_prepare.append(share_refusals)
    app.cleanup_ctx.append(lifespan)
    app.on_shutdown.append(wake_streams)
    return app
