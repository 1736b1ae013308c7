"""An OpenTelemetry collector for tests, made of OpenTelemetry's own messages."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue

_TYPE = "application/x-protobuf"


@dataclass
class Collector:
    """What was received: the raw bodies, the headers, and the decoded messages."""

    url: str = ""
    bodies: list[bytes] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    spans: list[Any] = field(default_factory=list)
    metrics: list[Any] = field(default_factory=list)
    instances: set[str] = field(default_factory=set)

    def named(self, name: str) -> Any:
        """Return the only span of this name."""
        (span,) = [span for span in self.spans if span.name == name]
        return span

    def latest(self, name: str) -> Any:
        """Return the latest export of a metric."""
        return [metric for metric in self.metrics if metric.name == name][-1]

    async def take_traces(self, request: web.Request) -> web.Response:
        body = await self._read(request)
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            for scope in resource.scope_spans:
                self.spans += scope.spans
        return web.Response(content_type=_TYPE)

    async def take_metrics(self, request: web.Request) -> web.Response:
        body = await self._read(request)
        for resource in ExportMetricsServiceRequest.FromString(body).resource_metrics:
            self.instances.add(attributes(resource.resource.attributes)["service.instance.id"])
            for scope in resource.scope_metrics:
                self.metrics += scope.metrics
        return web.Response(content_type=_TYPE)

    async def _read(self, request: web.Request) -> bytes:
        body = await request.read()
        self.bodies.append(body)
        self.headers.append(dict(request.headers))
        return body


def attributes(pairs: list[KeyValue]) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, str(pair.value.WhichOneof("value"))) for pair in pairs}


@asynccontextmanager
async def collecting() -> AsyncIterator[Collector]:
    """Run a collector on a free port until the block ends."""
    collector = Collector()
    app = web.Application(client_max_size=2**26)
    app.router.add_post("/v1/traces", collector.take_traces)
    app.router.add_post("/v1/metrics", collector.take_metrics)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        collector.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield collector
    finally:
        await runner.cleanup()
