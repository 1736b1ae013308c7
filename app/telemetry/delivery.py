"""What reached the collector, and what did not: counted, and logged once per outage."""

from collections.abc import Sequence

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from app.log import logger

log = logger(__name__)


class Delivery:
    """The counts of one signal: `spans` or `metrics`. Threads of OpenTelemetry call `record`."""

    def __init__(self, signal: str) -> None:
        self.signal = signal
        self.sent = 0
        self.failed = 0
        self.dropped = 0
        self.consecutive_failures = 0

    def record(self, count: int, *, was_sent: bool) -> None:
        """Count an attempt to send this many items. Log the first failure and the first success."""
        if was_sent:
            self.sent += count
            if self.consecutive_failures:
                log.info("telemetry_sent_again", signal=self.signal, lost=self.lost)
            self.consecutive_failures = 0
            return
        self.failed += count
        if not self.consecutive_failures:
            log.warning(
                "telemetry_not_sent",
                signal=self.signal,
                problem="The collector of OTEL_EXPORTER_OTLP_ENDPOINT did not accept the data.",
            )
        self.consecutive_failures += 1

    @property
    def lost(self) -> int:
        return self.failed + self.dropped


class CountingExporter(SpanExporter):
    """Passes spans on, and counts them."""

    def __init__(self, exporter: SpanExporter, delivery: Delivery) -> None:
        self._exporter = exporter
        self._delivery = delivery

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = self._exporter.export(spans)
        self._delivery.record(len(spans), was_sent=result is SpanExportResult.SUCCESS)
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()


class CountingProcessor(BatchSpanProcessor):
    """OpenTelemetry's bounded queue, with a count of the spans that it drops."""

    def __init__(self, exporter: SpanExporter, delivery: Delivery) -> None:
        super().__init__(exporter)
        self._delivery = delivery

    def on_end(self, span: ReadableSpan) -> None:
        queue = self._batch_processor._queue  # noqa: SLF001 - its own count needs a meter
        if len(queue) == queue.maxlen:
            self._delivery.dropped += 1
        super().on_end(span)
