"""The handler of `/metrics`."""

from aiohttp import hdrs, web

from app.access.guard import CALLER
from app.access.models import Scope
from app.configuration.snapshots.reading import FOLLOWER
from app.http import wire
from app.operations.metrics.families import Merged, render
from app.operations.metrics.peers import Peers
from app.threads import in_thread

PEERS: web.AppKey[Peers] = web.AppKey("peers", Peers)


async def get_metrics(request: web.Request) -> web.Response:
    """Get the metrics of every worker.

    The format is Prometheus or OpenMetrics text, by `Accept`. Metrics of an environment are given
    to tokens of that environment only.
    """
    wire.read_query(request, set())
    rights, follower = request[CALLER].rights, request.app[FOLLOWER]
    existing = follower.environments() if follower.is_loaded else ()

    def covers(environment: str) -> bool:
        # The counts of deleted environments are still in memory.
        return environment in existing and rights.covers_all(Scope.READ, environment)

    by_worker = await request.app[PEERS].gather()
    accept = request.headers.get(hdrs.ACCEPT, "")
    # Printing takes about 15 ms per worker.
    text, content_type = await in_thread(
        "metrics", lambda: render(Merged(by_worker, covers), accept)
    )
    return web.Response(body=text, headers={hdrs.CONTENT_TYPE: content_type})
