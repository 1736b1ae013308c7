"""What is kept of each request: how long it took, and a line of the log if it matters.

aiohttp's own line for every request halves the throughput. Writes, refusals, failures and slow
answers are always logged; of good reads one in N, and of good probes none.
"""

import itertools

from aiohttp import web
from aiohttp.abc import AbstractAccessLogger

from app.http.frame import route_of
from app.http.keys import DURATIONS, REQUEST_ID, SETTINGS
from app.log import logger

log = logger("app.access")

SLOW_SECONDS = 1.0
_READS = {"GET", "HEAD", "OPTIONS"}
_counter = itertools.count()


class AccessLogger(AbstractAccessLogger):
    """One line a request, by route and not by path."""

    @property
    def enabled(self) -> bool:
        # Always, as durations are wanted even where lines are not.
        return True

    def log(self, request: web.BaseRequest, response: web.StreamResponse, time: float) -> None:
        if not isinstance(request, web.Request):
            return
        # An error that aiohttp makes before routing has no application.
        if request._match_info is None:  # noqa: SLF001 - match_info would raise
            return
        request.app[DURATIONS].observe(request.match_info.route, response.status, time)
        dull = request.method in _READS and response.status < 400 and time < SLOW_SECONDS
        # Counted before anything is looked up: of the many there is nothing to say.
        if dull and not _is_sampled(request):
            return
        route = route_of(request)
        if dull and route.startswith("/health"):
            return
        log.info(
            "request",
            request_id=request.get(REQUEST_ID, ""),
            method=request.method,
            route=route,
            status=response.status,
            milliseconds=round(time * 1000, 1),
            client=request.remote,
            bytes=response.body_length,
        )


def _is_sampled(request: web.Request) -> bool:
    sample = request.app[SETTINGS].http.access_log_sample
    return sample > 0 and next(_counter) % sample == 0
