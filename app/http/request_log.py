"""What is kept of each request: how long it took, and a line of the log if it matters.

aiohttp's own line for every request halves the throughput. Writes, failures and slow answers are
always logged; of good reads one in N, and of good probes none. Refusals are told by the access log,
and here no more often than good reads: else a flood of them would be a flood of lines. That a flag
is unknown is as ordinary: a client may ask for it as often as for any other.
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

log = logger("app.requests")

SLOW_SECONDS = 1.0
_REFUSALS = frozenset({401, 403, 429})


class RequestLogger(AbstractAccessLogger):
    """One line a request, by route and not by path; one for every connection."""

    def __init__(self, durations: Durations, sample: int) -> None:
        super().__init__(logging.getLogger(__name__), "")
        self._durations = durations
        self._sample = sample
        self._reads = itertools.count()

    def log(self, request: web.BaseRequest, response: web.StreamResponse, time: float) -> None:
        # An error that aiohttp makes before routing has no route.
        if not isinstance(request, web.Request) or request._match_info is None:  # noqa: SLF001
            return
        route, status = request.match_info.route, response.status
        self._durations.observe(route, status, time)
        # Only what writes has a deadline: an evaluation is a POST, and yet a read.
        only_reads = request.method == hdrs.METH_GET or DEADLINE not in request
        is_ordinary = status < 400 or ORDINARY in request
        dull = time < SLOW_SECONDS and (status in _REFUSALS or (is_ordinary and only_reads))
        # Counted before anything is looked up: of the many there is nothing to say.
        if dull and not self._is_sampled():
            return
        name = route_of(request)
        if dull and name.startswith("/health"):
            return
        log.info(
            "request",
            request_id=request.get(REQUEST_ID, ""),
            method=request.method,
            route=name,
            status=status,
            milliseconds=round(time * 1000, 1),
            client=client_address(request),
            bytes=response.body_length,
        )

    def _is_sampled(self) -> bool:
        return self._sample > 0 and next(self._reads) % self._sample == 0
