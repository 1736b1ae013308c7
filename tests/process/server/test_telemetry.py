"""Telemetry of a service as its own process."""

from collections.abc import Callable

from tests.collector import collecting
from tests.process.conftest import Process
from tests.waiting import until


async def test_each_worker_sends_its_own_metrics(launch: Callable[..., Process]) -> None:
    async with collecting() as collector:
        process = launch(
            WORKERS="2",
            INSTANCE_ID="node",
            OTEL_EXPORTER_OTLP_ENDPOINT=collector.url,
            OTEL_METRIC_EXPORT_INTERVAL="100",
        )
        await process.start()

        async def have_both_sent() -> bool:
            return collector.instances == {"node.1", "node.2"}

        await until(have_both_sent)
        await process.stop()
