"""The families of `/metrics` as OpenTelemetry's metrics.

Metrics for which OpenTelemetry has a convention get its name, unit and attributes. The others have
the names of `/metrics`, without the suffix `_total`.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from opentelemetry.sdk.metrics import export
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from app import VERSION
from app.operations.metrics.families import Family

_CUMULATIVE = export.AggregationTemporality.CUMULATIVE
_STATUS = "http.response.status_code"
_POOL = {"db.client.connection.pool.name": "flagstone"}

Attributes = dict[str, str | int]


class _Convention(NamedTuple):
    """`labels` maps our labels to attributes. `falls` marks a sum that may also decrease."""

    name: str
    unit: str
    labels: Mapping[str, str] = {}
    constant: Mapping[str, str] = {}
    falls: bool = False


_CONVENTIONS = {
    "flagstone_http_request_duration_seconds": _Convention(
        "http.server.request.duration",
        "s",
        {"method": "http.request.method", "route": "http.route", "status": _STATUS},
    ),
    "flagstone_database_pool_connections": _Convention(
        "db.client.connection.count",
        "{connection}",
        {"state": "db.client.connection.state"},
        _POOL,
        falls=True,
    ),
    "flagstone_database_pool_connections_max": _Convention(
        "db.client.connection.max", "{connection}", constant=_POOL, falls=True
    ),
    "flagstone_database_pool_waiting": _Convention(
        "db.client.connection.pending_requests", "{request}", constant=_POOL, falls=True
    ),
    "process_cpu_seconds": _Convention("process.cpu.time", "s"),
    "process_resident_memory_bytes": _Convention("process.memory.usage", "By", falls=True),
    "process_virtual_memory_bytes": _Convention("process.memory.virtual", "By", falls=True),
    "process_open_fds": _Convention(
        "process.unix.file_descriptor.count", "{file_descriptor}", falls=True
    ),
}
_UNITS = {"_seconds": "s", "_bytes": "By"}


def metrics_data(
    families: Sequence[Family], resource: Resource, start: int, now: int
) -> export.MetricsData:
    """Return all families. `start` is the start of the process, in nanoseconds as `now`."""
    metrics = [_metric(family, start, now) for family in families if family.samples]
    scope = export.ScopeMetrics(InstrumentationScope("flagstone", VERSION), metrics, "")
    return export.MetricsData([export.ResourceMetrics(resource, [scope], "")])


def _metric(family: Family, start: int, now: int) -> export.Metric:
    convention = _CONVENTIONS.get(family.name) or _Convention(family.name, _unit(family.name))
    data: export.DataT
    if family.type == "histogram":
        data = export.Histogram(list(_histogram(family, convention, start, now)), _CUMULATIVE)
    else:
        points = [
            export.NumberDataPoint(_attributes(labels, convention), start, now, value)
            for name, labels, value in family.samples
            if not name.endswith("_created")
        ]
        is_counter = family.type == "counter"
        if is_counter or convention.falls:
            data = export.Sum(points, _CUMULATIVE, is_counter)
        else:
            data = export.Gauge(points)
    return export.Metric(convention.name, family.help, convention.unit, data)


def _histogram(
    family: Family, convention: _Convention, start: int, now: int
) -> Iterator[export.HistogramDataPoint]:
    """Yield a point per series. The buckets of `/metrics` are cumulative, those of OTLP are not."""
    buckets: dict[frozenset[tuple[str, str]], list[tuple[float, int]]] = defaultdict(list)
    sums: dict[frozenset[tuple[str, str]], float] = {}
    for name, labels, value in family.samples:
        series = frozenset((key, text) for key, text in labels.items() if key != "le")
        if name.endswith("_bucket"):
            buckets[series].append((float(labels["le"]), int(value)))
        elif name.endswith("_sum"):
            sums[series] = value
    for series, counted in buckets.items():
        below = [0, *(count for _, count in counted)]
        yield export.HistogramDataPoint(
            _attributes(dict(series), convention),
            start,
            now,
            count=below[-1],
            sum=sums[series],
            bucket_counts=[after - before for before, after in pairwise(below)],
            explicit_bounds=[bound for bound, _ in counted[:-1]],
            # Not measured.
            min=None,  # type: ignore[arg-type]  # the message has no value then
            max=None,  # type: ignore[arg-type]  # the same
        )


def _attributes(labels: Mapping[str, str], convention: _Convention) -> Attributes:
    named: Attributes = {convention.labels.get(key, key): text for key, text in labels.items()}
    if _STATUS in named:
        named[_STATUS] = int(named[_STATUS])
    return {**named, **convention.constant}


def _unit(name: str) -> str:
    return next((unit for suffix, unit in _UNITS.items() if name.endswith(suffix)), "")
