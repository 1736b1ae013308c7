"""The HTTP side of metrics."""

from aiohttp import hdrs, web

from app.http import wire
from app.metrics.families import Merged, printed
from app.metrics.peers import Peers

PEERS: web.AppKey[Peers] = web.AppKey("peers", Peers)


async def get_metrics(request: web.Request) -> web.Response:
    """Give the measurements of every worker, as Prometheus or OpenMetrics text."""
    wire.read_query(request, set())

    by_worker = await request.app[PEERS].gather()

    text, content_type = printed(Merged(by_worker), request.headers.get(hdrs.ACCEPT, ""))
    return web.Response(body=text, headers={hdrs.CONTENT_TYPE: content_type})
