"""The HTTP side of metrics."""

from collections.abc import Iterable, Mapping
from functools import partial

from aiohttp import hdrs, web

from app.access.guard import CALLER
from app.configuration.snapshots.reading import FOLLOWER
from app.http import wire
from app.operations.metrics.families import Family, Merged, printed, visible
from app.operations.metrics.peers import Peers
from app.threads import in_thread

PEERS: web.AppKey[Peers] = web.AppKey("peers", Peers)


async def get_metrics(request: web.Request) -> web.Response:
    """Give the measurements of every worker, as Prometheus or OpenMetrics text.

    Those of single environments are given to tokens of these environments.
    """
    wire.read_query(request, set())
    grant, follower = request[CALLER].grant, request.app[FOLLOWER]
    existing = follower.loaded() if follower.is_loaded else ()

    def covers(environment: str) -> bool:
        # What was counted of a deleted environment is still in memory.
        return environment in existing and grant.covers(environment)

    by_worker = {
        worker: [visible(family, covers) for family in families]
        for worker, families in (await request.app[PEERS].gather()).items()
    }

    accept = request.headers.get(hdrs.ACCEPT, "")
    # Each worker's samples take about 15 ms.
    work = partial(_print, by_worker, accept)
    text, content_type = await in_thread("metrics", work)
    return web.Response(body=text, headers={hdrs.CONTENT_TYPE: content_type})


def _print(by_worker: Mapping[int, Iterable[Family]], accept: str) -> tuple[bytes, str]:
    return printed(Merged(by_worker), accept)
