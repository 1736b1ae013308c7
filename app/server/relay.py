"""The components and routes of a relay: those of the service that need no database."""

from dataclasses import replace
from functools import partial

from aiohttp import web

from app import memory
from app.access.guard import ACCESS_LOG, TOKENS
from app.access.log import AccessLog
from app.access.rate_limit import RATE_LIMIT, RateLimit
from app.access.stdout_log import StdoutLog
from app.components import Component, FunctionComponent
from app.configuration.changes.content_checks import ContentChecks
from app.configuration.changes.write_requests import CHECKS
from app.configuration.snapshots.broadcast import STREAMS, Broadcast
from app.configuration.snapshots.disk import Disk
from app.configuration.snapshots.disk_copy import DiskCopy
from app.configuration.snapshots.reading import FOLLOWER
from app.configuration.transfer.import_requests import TRANSFER_LIMITER, TRANSFER_WAIT_SECONDS
from app.flags.handlers import PREVIEWS, USAGE
from app.flags.ofrep.cors import CORS, Cors
from app.flags.ofrep.tickets import TICKETS, Tickets
from app.flags.preview import Previews
from app.health.handlers import HEALTH, Health
from app.http.budget import BodyBudget
from app.http.durations import Durations
from app.http.keys import BUDGET, DATABASE, DECODE_LIMITER, DURATIONS, LIFECYCLE, SETTINGS
from app.http.lifecycle import Lifecycle
from app.operations.metrics.collector import Collector
from app.operations.metrics.handlers import PEERS
from app.operations.metrics.peers import Peers
from app.relay import routes
from app.relay.client import UpstreamClient
from app.relay.path import RelayPath
from app.relay.refusals import NoDatabase, misdirected, outside_circles, without_secrets
from app.relay.report import UPSTREAM_CHECK, UpstreamReport
from app.relay.source import UpstreamSource
from app.relay.status_page import SOURCE, status_page
from app.relay.usage import CLIENT, RelayUsage
from app.server.components import COMPONENTS, STARTUP_RETRY, TASKS, feed_of, flagd_sync_of
from app.server.last_known import serve_last_known
from app.server.routes import ROUTES, add_route, begin_routes
from app.server.startup_retry import StartupRetry
from app.server.workers import Worker
from app.settings import Settings
from app.tasks import Tasks
from app.threads import ThreadLimiter

_PAGE = "/console"


def add_relay(app: web.Application, settings: Settings, worker: Worker) -> None:
    """Create the components and the routes of a relay, without starting them."""
    relay = settings.relay
    if relay.upstream is None or relay.token is None:
        raise RuntimeError("a relay needs an upstream and a token")
    path = RelayPath()
    app[CLIENT] = client = UpstreamClient(relay, path)
    app[FOLLOWER] = app[SOURCE] = source = UpstreamSource(client)
    app[TOKENS] = credentials = source.credentials
    app[SETTINGS] = settings
    # The relays of one upstream and one token read each other's files and tickets.
    key = relay.token
    disk = Disk(settings.data_dir, key, settings.tier) if settings.snapshot_on_disk else None
    disk_copy = DiskCopy(source, credentials, disk)
    checks = ContentChecks()

    components: list[Component] = []
    app[COMPONENTS] = components
    app[TASKS] = tasks = Tasks()
    app[LIFECYCLE] = lifecycle = Lifecycle()
    app[STARTUP_RETRY] = retry = StartupRetry("waiting_for_upstream")
    app[HEALTH] = Health(components, tasks, lifecycle, settings.instance, UPSTREAM_CHECK)
    app[PEERS] = Peers(
        Collector(components, tasks, settings.instance),
        lifecycle.serving,
        number=worker.number,
        folder=worker.folder,
    )
    app[DATABASE] = NoDatabase(settings.database, relay.upstream)
    app[ACCESS_LOG] = AccessLog(
        None, StdoutLog.of_stdout() if settings.access.log_on_stdout else None
    )
    app[CHECKS] = checks
    app[USAGE] = RelayUsage(client, credentials)
    app[PREVIEWS] = Previews(checks)
    app[BUDGET] = BodyBudget(settings.http.bodies_bytes_max)
    app[DURATIONS] = Durations()
    app[STREAMS] = Broadcast(source, lifecycle)
    app[RATE_LIMIT] = RateLimit()
    app[TICKETS] = Tickets(credentials, key, settings.http.public_url)
    app[CORS] = Cors(settings.http.cors_origins)
    app[TRANSFER_LIMITER] = ThreadLimiter(TRANSFER_WAIT_SECONDS)
    app[DECODE_LIMITER] = ThreadLimiter(TRANSFER_WAIT_SECONDS)

    components += [
        app[DURATIONS],
        app[BUDGET],
        app[STREAMS],
        feed_of(app, lambda: source.depth),
        FunctionComponent("content_checks", close=checks.close),
        app[PEERS],
        app[ACCESS_LOG],
        *flagd_sync_of(app, settings, worker),
        FunctionComponent("client", close=client.close),
        UpstreamReport(source, client),
        FunctionComponent(
            "last_known", run=partial(serve_last_known, disk_copy, lifecycle, retry.delayed)
        ),
        source,
        FunctionComponent("upstream_stream", run=source.follow),
        credentials,
        FunctionComponent("collector", run=memory.run),
        disk_copy,
        app[USAGE],
    ]
    _add_routes(app, relay.upstream, path)


def _add_routes(app: web.Application, upstream: str, path: RelayPath) -> None:
    begin_routes(app)
    for route in ROUTES:
        if route.writes:
            add_route(app, replace(route, handler=misdirected(upstream), is_large=False))
        elif "reveal" in route.query:
            add_route(app, replace(route, handler=without_secrets(route.handler, upstream)))
        else:
            add_route(app, route)
    for route in routes.OF_RELAY:
        add_route(app, route, partial(outside_circles, path=path))
    for page in (_PAGE, _PAGE + "/"):
        app.router.add_get(page, status_page(upstream))
