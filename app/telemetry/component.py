"""The component that sends traces and metrics to a collector.

OpenTelemetry's thread encodes and sends the spans. Metrics are read on the event loop, and encoded
and sent in a thread. Each worker creates its own component, after the fork.
"""

import asyncio
import logging
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

import psutil
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics.export import MetricExportResult
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from prometheus_client import Metric

from app import VERSION
from app.components import Component, HealthCheck, ReportScope, Status, counters
from app.log import logger
from app.operations.metrics.collector import Collector
from app.operations.metrics.families import families
from app.settings import Settings, TelemetrySettings
from app.tasks import repeat
from app.telemetry.delivery import CountingExporter, CountingProcessor, Delivery
from app.telemetry.figures import metrics_data
from app.telemetry.requests import RequestSpans
from app.telemetry.statements import StatementSpans
from app.threads import in_thread

log = logger(__name__)

_FLUSH_SECONDS = 3.0
_INTERVAL = "OTEL_METRIC_EXPORT_INTERVAL"
_INTERVAL_MILLISECONDS = "60000"
_INTERVAL_SECONDS_MAX = 86_400.0
_NONE = "none"


class Telemetry(Component):
    """Sends spans and metrics. `requests` and `statements` record the spans."""

    name = "telemetry"

    def __init__(self, settings: Settings, collector: Collector, serving: asyncio.Event) -> None:
        self._collector = collector
        self._serving = serving
        self.spans, self.exports = Delivery("spans"), Delivery("metrics")
        self._seconds = _interval_seconds()
        self._start_time = int(psutil.Process().create_time() * 1e9)
        logging.getLogger("opentelemetry.util.re").addFilter(_without_header)
        with _environment(settings.telemetry):
            self._resource = _resource(settings)
            self.provider = TracerProvider(resource=self._resource, shutdown_on_exit=False)
            if os.environ.get("OTEL_TRACES_EXPORTER") != _NONE:
                exporter = CountingExporter(OTLPSpanExporter(), self.spans)
                self.provider.add_span_processor(CountingProcessor(exporter, self.spans))
            self._metric_exporter: OTLPMetricExporter | None = None
            if os.environ.get("OTEL_METRICS_EXPORTER") != _NONE:
                self._metric_exporter = OTLPMetricExporter()
        tracer = self.provider.get_tracer("flagstone", VERSION)
        self.requests = RequestSpans(tracer)
        self.statements = StatementSpans(tracer)
        # It logs each failed batch and each dropped span. Delivery logs an outage once.
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
        logging.getLogger("urllib3").setLevel(logging.WARNING)

    async def run(self) -> None:
        """Send the metrics at each interval. Never returns."""
        await self._serving.wait()
        if self._metric_exporter is not None:
            await repeat(lambda: self._seconds, self.send_metrics)

    async def send_metrics(self) -> None:
        exporter = self._metric_exporter
        if exporter is None:
            return
        current, now = families(self._collector.collect()), time.time_ns()

        def send() -> bool:
            data = metrics_data(current, self._resource, self._start_time, now)
            return exporter.export(data) is MetricExportResult.SUCCESS

        self.exports.record(1, was_sent=await in_thread(self.name, send))

    async def close(self) -> None:
        """Send what is left, for at most 3 s."""
        try:
            async with asyncio.timeout(_FLUSH_SECONDS):
                if self._serving.is_set():
                    await self.send_metrics()
                await in_thread(self.name, self.provider.shutdown)
        except TimeoutError:
            log.warning("telemetry_not_flushed", seconds=_FLUSH_SECONDS)

    def checks(self, _: ReportScope) -> Mapping[str, HealthCheck]:
        return {f"telemetry:{part.signal}": _check(part) for part in (self.spans, self.exports)}

    def metrics(self) -> Iterable[Metric]:
        yield counters(
            "flagstone_telemetry_items",
            "Spans and exports of metrics: sent, failed, or dropped from a full queue.",
            "signal outcome",
            {
                (part.signal, outcome): count
                for part in (self.spans, self.exports)
                for outcome, count in (
                    ("sent", part.sent),
                    ("failed", part.failed),
                    ("dropped", part.dropped),
                )
            },
        )


def _check(delivery: Delivery) -> HealthCheck:
    """Warn while the collector is away. The service does not need it."""
    if not delivery.consecutive_failures:
        output = f"{delivery.lost} lost" if delivery.lost else None
        return HealthCheck(status=Status.PASS, output=output)
    return HealthCheck(
        status=Status.WARN,
        consecutive_failures=delivery.consecutive_failures,
        output=f"the collector is away, {delivery.lost} lost; see telemetry_not_sent in the log",
    )


def _interval_seconds() -> float:
    """Return the time between two exports of metrics. Raises ValueError."""
    seconds = float(os.environ.get(_INTERVAL) or _INTERVAL_MILLISECONDS) / 1000
    if not 0 < seconds <= _INTERVAL_SECONDS_MAX:
        raise ValueError(f"{_INTERVAL} must be milliseconds, more than 0 and at most a day")
    return seconds


def _without_header(record: logging.LogRecord) -> bool:
    """Replace the message about a malformed header. It contains the header, such as a token."""
    record.msg = "A header of OTEL_EXPORTER_OTLP_HEADERS is not name=value, and is not sent."
    record.args = ()
    return True


def _resource(settings: Settings) -> Resource:
    """Return the identity of this instance. OTEL_RESOURCE_ATTRIBUTES has priority."""
    given = OTELResourceDetector().detect().attributes
    ours = {
        "service.name": "flagstone",
        "service.version": VERSION,
        "service.instance.id": settings.instance,
        "deployment.environment.name": settings.tier.value,
    }
    return Resource.create({key: text for key, text in ours.items() if key not in given})


@contextmanager
def _environment(settings: TelemetrySettings) -> Iterator[None]:
    """Set the variables of our settings, which may come sealed or from a file.

    Programs that the service starts later must not inherit them.
    """
    ours = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": settings.endpoint,
        "OTEL_EXPORTER_OTLP_HEADERS": settings.headers.reveal() if settings.headers else None,
    }
    before = {name: os.environ.get(name) for name in ours}
    _set(ours)
    try:
        yield
    finally:
        _set(before)


def _set(variables: Mapping[str, str | None]) -> None:
    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
