"""Traces and metrics, as a collector receives them."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import ClientSession
from structlog.testing import capture_logs

from app.crypto.secret import Secret
from app.errors import Invalid
from app.http.keys import CURRENT_SPAN, DATABASE
from app.settings import Settings, TelemetrySettings
from app.telemetry.component import Telemetry
from tests.api.metrics import scrape
from tests.collector import Collector, attributes, collecting
from tests.conftest import Service, serving
from tests.factories import flag
from tests.ports import free_port

LOCAL = "/v1/environments/local"
FLAG = LOCAL + "/ofrep/v1/evaluate/flags/banner"
FLAG_ROUTE = "POST " + FLAG.replace("local", "{environment}").replace("banner", "{key}")
KEY_ROUTE = LOCAL.replace("local", "{environment}") + "/configurations/{key}"
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
TRACEPARENT = {"traceparent": f"00-{TRACE}-{PARENT}-01"}
NEW = {"If-None-Match": "*"}
SECRET = "hunter2-value"


@pytest.fixture
async def collector() -> AsyncIterator[Collector]:
    async with collecting() as collector:
        yield collector


@asynccontextmanager
async def traced(
    settings: Settings, endpoint: str, *, is_fast: bool = True
) -> AsyncIterator[Service]:
    """Run a service that sends to the collector when a test says so."""
    telemetry = TelemetrySettings(endpoint=endpoint, headers=Secret("x-key=k1"), is_on=True)
    http = replace(settings.http, fast_path=is_fast)
    async with serving(
        replace(settings, telemetry=telemetry, http=http, instance="traced")
    ) as service:
        yield service


async def flush(service: Service) -> None:
    telemetry = service.component(Telemetry)
    await asyncio.to_thread(telemetry.provider.force_flush)


async def make_flag(service: Service) -> None:
    answer = await service.client.put(
        LOCAL + "/configurations/banner",
        json={"kind": "flag", "value": flag(defaultVariant="on")},
        headers=NEW,
    )
    assert answer.status == 201, await answer.text()
    await asyncio.sleep(0)


def shape(span: Any) -> dict[str, Any]:
    """Return what must be equal on both ways of a request."""
    found = attributes(span.attributes)
    for name in ("flagstone.request_id", "server.port"):
        assert found.pop(name)
    events = [(event.name, attributes(event.attributes)) for event in span.events]
    return {"name": span.name, "kind": span.kind, "attributes": found, "events": events}


@pytest.mark.usefixtures("service")
async def test_request_continues_the_trace_of_its_client(
    settings: Settings, collector: Collector
) -> None:
    async with traced(settings, collector.url) as service:
        await service.client.get("/v1/environments?x=1", headers=TRACEPARENT)
        await flush(service)

    span = collector.named("GET /v1/environments")
    assert (span.trace_id.hex(), span.parent_span_id.hex()) == (TRACE, PARENT)
    assert attributes(span.attributes)["http.response.status_code"] == 400
    assert collector.headers[0]["x-key"] == "k1"


@pytest.mark.usefixtures("service")
async def test_undecodable_host_gives_no_server_address(
    settings: Settings, collector: Collector
) -> None:
    async with traced(settings, collector.url) as service:
        answer = await service.client.get("/v1/environments", headers={"Host": "xn--a.xn--"})
        assert answer.status == 200
        await flush(service)

    span = collector.named("GET /v1/environments")
    assert "server.address" not in attributes(span.attributes)


@pytest.mark.usefixtures("service")
async def test_both_ways_of_a_request_have_the_same_span(settings: Settings) -> None:
    shapes = []
    for is_fast in (True, False):
        async with (
            collecting() as collector,
            traced(settings, collector.url, is_fast=is_fast) as service,
        ):
            if is_fast:
                await make_flag(service)
            answer = await service.client.post(FLAG, json={"context": {"targetingKey": "u"}})
            assert answer.status == 200
            before = await scrape(service)
            await flush(service)
            shapes.append(shape(collector.named(FLAG_ROUTE)))
        fast = before[("flagstone_http_fast_answers_total", frozenset({("worker", "1")}))]
        assert (fast > 0) is is_fast

    assert shapes[0] == shapes[1]
    assert shapes[0]["attributes"] == {
        "http.request.method": "POST",
        "http.response.status_code": 200,
        "http.route": FLAG_ROUTE.removeprefix("POST "),
        "url.path": FLAG_ROUTE.removeprefix("POST "),
        "url.scheme": "http",
        "network.protocol.version": "1.1",
        "server.address": "127.0.0.1",
    }
    assert shapes[0]["events"] == [
        (
            "feature_flag.evaluation",
            {
                "feature_flag.key": "banner",
                "feature_flag.provider.name": "flagstone",
                "feature_flag.result.reason": "static",
                "feature_flag.result.variant": "on",
                "feature_flag.set.id": "local",
            },
        )
    ]


@pytest.mark.usefixtures("service")
async def test_statements_are_children_of_their_request(
    settings: Settings, collector: Collector
) -> None:
    async with traced(settings, collector.url) as service:
        written = await service.client.put(
            LOCAL + "/configurations/secret-key", json={"value": SECRET}, headers=NEW
        )
        assert written.status == 201
        await flush(service)

    request = collector.named("PUT " + KEY_ROUTE)
    statements = [span for span in collector.spans if span.parent_span_id == request.span_id]
    names = [span.name for span in statements]
    assert names[0] == "BEGIN"
    assert names[-1] == "COMMIT"
    assert {"lock_entries", "write_change_sets"} <= set(names)
    found = attributes(statements[1].attributes)
    assert found["db.system.name"] == "postgresql"
    assert found["db.query.summary"] == statements[1].name


@pytest.mark.usefixtures("service")
async def test_failed_statement_has_its_sqlstate(settings: Settings, collector: Collector) -> None:
    async with traced(settings, collector.url) as service:
        span = service.component(Telemetry).provider.get_tracer("test").start_span("test")
        outer = CURRENT_SPAN.set(span)
        with pytest.raises(Invalid):
            async with service.app[DATABASE].connection() as connection:
                await connection.fetchval("select $1::text::integer", SECRET)
        CURRENT_SPAN.reset(outer)
        await flush(service)

    statement = collector.named("statement")
    assert attributes(statement.attributes)["db.response.status_code"] == "22P02"
    assert SECRET.encode() not in b"".join(collector.bodies)


@pytest.mark.usefixtures("service")
async def test_spans_hold_no_secret(settings: Settings, collector: Collector) -> None:
    async with traced(settings, collector.url) as service:
        await make_flag(service)
        bulk = await service.client.post(LOCAL + "/ofrep/v1/evaluate/flags", json={"context": {}})
        stream = (await bulk.json())["eventStreams"][0]["url"]
        ticket = stream.rpartition("/")[2]
        async with ClientSession() as browser, browser.get(stream) as answer:
            assert answer.status == 200
        await service.client.put(
            LOCAL + "/configurations/secret-key", json={"value": SECRET}, headers=NEW
        )
        await service.client.get(f"{LOCAL}/configurations?prefix={SECRET}")
        await service.client.get(f"/{SECRET}/{ticket}")
        await service.client.post(FLAG, json={"context": {"targetingKey": SECRET}})
        token = service.admin_token

    assert collector.named("GET /ofrep/v1/streams/{ticket}")
    sent = b"".join(collector.bodies)
    assert b"/configurations/{key}" in sent
    for secret in (SECRET, ticket, token, "secret-key"):
        assert secret.encode() not in sent


@pytest.mark.usefixtures("service")
async def test_sampler_decides_unless_the_client_has(
    settings: Settings, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_traceidratio")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "0")
    async with traced(settings, collector.url) as service:
        await service.client.get("/v1/environments")
        await service.client.get(LOCAL + "/configurations/k")
        await service.client.get(LOCAL + "/configurations/k", headers=TRACEPARENT)
        await flush(service)

    assert [span.name for span in collector.spans] == ["GET " + KEY_ROUTE]


@pytest.mark.usefixtures("service")
async def test_probes_have_no_spans(settings: Settings, collector: Collector) -> None:
    async with traced(settings, collector.url) as service:
        await service.stranger.get("/health/live", headers=TRACEPARENT)
        await service.stranger.get("/health/started", headers=TRACEPARENT)
        await flush(service)

    assert collector.spans == []


@pytest.mark.usefixtures("service")
async def test_metrics_equal_those_of_a_scrape(settings: Settings, collector: Collector) -> None:
    async with traced(settings, collector.url) as service:
        for _ in range(3):
            await service.client.get(LOCAL + "/configurations/k")
        await service.component(Telemetry).send_metrics()
        samples = await scrape(service)

    wanted = {"method": "GET", "route": KEY_ROUTE, "status": "404", "worker": "1"}
    prefix = "flagstone_http_request_duration_seconds"
    durations = collector.latest("http.server.request.duration")
    (point,) = [
        point
        for point in durations.histogram.data_points
        if attributes(point.attributes)
        == {
            "http.request.method": "GET",
            "http.route": KEY_ROUTE,
            "http.response.status_code": 404,
        }
    ]
    assert durations.unit == "s"
    assert point.count == samples[f"{prefix}_count", frozenset(wanted.items())] == 3
    assert point.sum == samples[f"{prefix}_sum", frozenset(wanted.items())]
    assert sum(point.bucket_counts) == 3
    assert len(point.bucket_counts) == len(point.explicit_bounds) + 1
    limit = collector.latest("db.client.connection.max").sum
    assert limit.data_points[0].as_double == settings.database.pool_max
    assert not limit.is_monotonic
    assert collector.latest("flagstone_http_fast_answers").sum.is_monotonic
    assert collector.instances == {"traced"}


@pytest.mark.usefixtures("service")
async def test_stop_sends_what_is_left(settings: Settings, collector: Collector) -> None:
    async with traced(settings, collector.url) as service:
        await service.client.get("/v1/environments")

    assert collector.named("GET /v1/environments")
    assert collector.latest("flagstone_task_up")


@pytest.mark.usefixtures("service")
@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("OTEL_BSP_MAX_QUEUE_SIZE", "3"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "often"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "0"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "nan"),
    ],
)
async def test_invalid_variable_leaves_the_service_without_telemetry(
    settings: Settings, collector: Collector, monkeypatch: pytest.MonkeyPatch, name: str, text: str
) -> None:
    monkeypatch.setenv(name, text)
    with capture_logs() as logged:
        async with traced(settings, collector.url) as service:
            answer = await service.client.get("/v1/environments")

    assert answer.status == 200
    assert [line["event"] for line in logged].count("telemetry_off") == 1


@pytest.mark.usefixtures("service")
async def test_malformed_header_is_not_logged(
    settings: Settings, collector: Collector, caplog: pytest.LogCaptureFixture
) -> None:
    # Another service of this process may have silenced it.
    caplog.set_level(logging.WARNING, "opentelemetry.util.re")
    malformed = TelemetrySettings(
        endpoint=collector.url, headers=Secret(f"Bearer {SECRET}"), is_on=True
    )
    async with serving(replace(settings, telemetry=malformed)):
        pass

    assert "OTEL_EXPORTER_OTLP_HEADERS is not name=value" in caplog.text
    assert SECRET not in caplog.text


@pytest.mark.usefixtures("service")
async def test_absent_collector_is_logged_once_and_counted(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "0.2")
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "4")
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "4")
    caplog.set_level(logging.WARNING)
    with capture_logs() as logged:
        await lose_spans(settings, f"http://127.0.0.1:{free_port()}")

    lines = [line["signal"] for line in logged if line["event"] == "telemetry_not_sent"]
    assert sorted(lines) == ["metrics", "spans"]
    assert not [record for record in caplog.records if record.name.startswith("opentelemetry")]


async def lose_spans(settings: Settings, endpoint: str) -> None:
    """Answer requests while the collector is away, and check that health reports it."""
    async with traced(settings, endpoint) as service:
        telemetry, asked = service.component(Telemetry), 0
        # A slow machine answers few requests while a batch fails, and drops none at first.
        while asked < 60 or not telemetry.spans.dropped:
            answer = await service.client.get("/v1/environments")
            assert answer.status == 200
            asked += 1
        await flush(service)
        health = await service.client.get("/health")
        checks = (await health.json(content_type=None))["checks"]
        ready = await service.client.get("/health/ready")

    spans = telemetry.spans
    assert (health.status, ready.status) == (200, 200)
    assert checks["telemetry:spans"][0]["status"] == "warn"
    assert spans.sent == 0
    assert spans.failed > 0
    assert spans.dropped > 0
    assert spans.failed + spans.dropped == asked
