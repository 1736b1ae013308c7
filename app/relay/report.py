"""Reports the upstream of a relay in health and metrics."""

import time
from collections.abc import Iterable, Mapping

from prometheus_client import Metric

from app.components import Component, HealthCheck, ReportScope, Status, counter, counters, gauge
from app.relay.client import UpstreamClient
from app.relay.source import UpstreamSource

UPSTREAM_CHECK = "upstream:read"


class UpstreamReport(Component):
    """The state of the upstream. A relay that has data stays ready while its upstream is away."""

    name = "upstream_report"

    def __init__(self, source: UpstreamSource, client: UpstreamClient) -> None:
        self._source = source
        self._client = client

    def checks(self, scope: ReportScope) -> Mapping[str, HealthCheck]:
        source = self._source
        is_well = source.problem is None and not source.stale_seconds
        return {
            UPSTREAM_CHECK: HealthCheck(
                status=Status.PASS if is_well else scope.outage,
                component_type="datastore",
                observed_value=source.depth,
                observed_unit="hops to the database",
                time=source.last_heard,
                age_seconds=round(source.age_seconds, 1),
                output=None if is_well else source.problem or "the upstream is stale itself",
            )
        }

    def metrics(self) -> Iterable[Metric]:
        source = self._source
        yield gauge(
            "flagstone_relay_upstream_up",
            "Whether the last call to the upstream succeeded.",
            float(source.problem is None),
        )
        yield gauge("flagstone_relay_depth", "Hops from this relay to the database.", source.depth)
        yield gauge(
            "flagstone_relay_upstream_silent_seconds",
            "Seconds since the upstream last sent its state.",
            source.silent_seconds(time.monotonic()),
        )
        yield counters(
            "flagstone_relay_fetches",
            "Environments fetched from the upstream, by kind.",
            "kind",
            source.fetches,
        )
        yield counter(
            "flagstone_relay_received_bytes",
            "Bytes of the upstream's answers.",
            self._client.received_bytes,
        )
