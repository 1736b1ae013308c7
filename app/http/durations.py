"""A histogram of request durations, by route and status."""

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import accumulate

from aiohttp import web
from prometheus_client.core import HistogramMetricFamily, Metric

from app.components import Component, counter

BOUNDS_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
_BOUNDS = (*(f"{bound:g}" for bound in BOUNDS_SECONDS), "+Inf")


class Series:
    """The durations of one route and status. The last count has the requests above every bound."""

    __slots__ = ("counts", "total_seconds")

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS_SECONDS) + 1)
        self.total_seconds = 0.0


@dataclass(frozen=True, kw_only=True)
class Labels:
    method: str
    route: str
    status: int


class Durations(Component):
    """All series since the process started. Counting takes less than 1 µs.

    `fast_answers` counts the requests that the fast path answered, `known_heads` those of them
    whose head was not parsed.
    """

    name = "durations"

    def __init__(self) -> None:
        self.fast_answers = 0
        self.known_heads = 0
        # By the route object: aiohttp creates each once.
        self._series: dict[tuple[web.AbstractRoute | None, int], Series] = {}

    def observe(self, route: web.AbstractRoute, status: int, seconds: float) -> None:
        """Count an answer. All unknown paths and methods share one series."""
        series = self._series.get((route, status))
        if series is None:
            key = (route if route.resource is not None else None, status)
            series = self._series.setdefault(key, Series())
        series.counts[bisect_left(BOUNDS_SECONDS, seconds)] += 1
        series.total_seconds += seconds

    def __iter__(self) -> Iterator[tuple[Labels, Series]]:
        for (route, status), series in self._series.items():
            if route is None or route.resource is None:
                yield Labels(method="", route="", status=status), series
            else:
                path = route.resource.canonical
                yield Labels(method=route.method, route=path, status=status), series

    def metrics(self) -> Iterable[Metric]:
        family = HistogramMetricFamily(
            "flagstone_http_request_duration_seconds",
            "Seconds from the head of a request to its response, by route and status.",
            labels=("method", "route", "status"),
        )
        for labels, series in self:
            family.add_metric(
                (labels.method, labels.route, str(labels.status)),
                buckets=list(zip(_BOUNDS, accumulate(series.counts), strict=True)),
                sum_value=series.total_seconds,
            )
        yield family
        yield counter(
            "flagstone_http_fast_answers",
            "Requests answered inside the protocol; see FAST_PATH.",
            self.fast_answers,
        )
        yield counter(
            "flagstone_http_known_heads",
            "Requests answered inside the protocol whose head was known, and so not parsed.",
            self.known_heads,
        )
