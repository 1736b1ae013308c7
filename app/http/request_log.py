"""The request log and the durations of requests.

A line for every request would halve the throughput. Writes, failures and slow answers are always
logged, and one in N successful reads. Successful probes are at debug; in the local tier all probes
are, because tools poll readiness during the start. Refusals are in the access log; here they are
sampled like reads, so that a flood of refusals does not flood the log. Evaluations of unknown flags
and reads of unknown keys are sampled too, because clients may repeat them as often as others.
"""

import itertools
import logging

from aiohttp import hdrs, web
from aiohttp.abc import AbstractAccessLogger

from app.http.client_address import client_address
from app.http.durations import Durations
from app.http.frame import route_of
from app.http.keys import DEADLINE, ORDINARY, REQUEST_ID
from app.log import logger
from app.settings import Tier

log = logger("app.requests")

SLOW_SECONDS = 1.0
_REFUSALS = frozenset({401, 403, 429})


class RequestLogger(AbstractAccessLogger):
    """Logs requests by route pattern. All connections share one logger."""

    def __init__(self, durations: Durations, sample: int, tier: Tier) -> None:
        super().__init__(logging.getLogger(__name__), "")
        self._durations = durations
        self._sample = sample
        self._is_local = tier is Tier.LOCAL
        self._reads = itertools.count()

    def log(self, request: web.BaseRequest, response: web.StreamResponse, time: float) -> None:
        # An error before routing has no route, and an error of the parser no application.
        match: web.UrlMappingMatchInfo | None = getattr(request, "_match_info", None)
        if match is None:
            return
        route, status = match.route, response.status
        self._durations.observe(route, status, time)
        # Only writes have a deadline. An evaluation is a POST that reads.
        only_reads = request.method == hdrs.METH_GET or DEADLINE not in request
        is_ordinary = status < 400 or ORDINARY in request
        is_routine = time < SLOW_SECONDS and (status in _REFUSALS or (is_ordinary and only_reads))
        # Sample first: most requests need no further work.
        if is_routine and not (self._sample > 0 and next(self._reads) % self._sample == 0):
            return
        if not isinstance(request, web.Request):
            return
        name = route_of(request)
        is_quiet = name.startswith("/health") and (is_routine or self._is_local)
        log.log(
            logging.DEBUG if is_quiet else logging.INFO,
            "request",
            request_id=request.get(REQUEST_ID, ""),
            method=request.method,
            route=name,
            status=status,
            milliseconds=round(time * 1000, 1),
            client=client_address(request),
            bytes=response.body_length,
        )
