"""The metrics of the service."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest

from app.access.guard import ACCESS_LOG
from app.access.models import Scope
from app.configuration.snapshots.reading import FOLLOWER
from app.database.role_names import APP
from app.flags.handlers import USAGE
from app.http.keys import DATABASE
from app.secrets.reveal import VAULT
from tests.api.metrics import Samples, scrape, value
from tests.conftest import Server, Service
from tests.factories import flag
from tests.waiting import HANG_SECONDS

LOCAL = "/v1/environments/local"
NEW = {"If-None-Match": "*"}


async def test_metrics_need_a_token(service: Service) -> None:
    refused = await service.stranger.get("/metrics")

    assert refused.status == 401


@pytest.mark.slow
async def test_requests_are_counted_by_route_and_status(service: Service) -> None:
    name = "flagstone_http_request_duration_seconds"
    route = LOCAL.replace("local", "{environment}") + "/configurations/{key}"
    before = await scrape(service)
    await service.client.put(LOCAL + "/configurations/k", json={"value": 1}, headers=NEW)
    for _ in range(3):
        await service.client.get(LOCAL + "/configurations/k")
    await service.client.get(LOCAL + "/configurations/missing")
    await service.client.get("/nothing/here")
    after = await scrape(service)

    def more(method: str, route: str, status: str, suffix: str = "_count", **labels: str) -> float:
        given = {"method": method, "route": route, "status": status, **labels}
        return value(after, name + suffix, **given) - value(before, name + suffix, **given)

    assert more("PUT", route, "201") == 1
    assert more("GET", route, "200") == 3
    assert more("GET", route, "404") == 1
    assert more("", "", "404") == 1
    assert more("GET", route, "200", "_bucket", le="+Inf") == 3
    assert 0 < more("GET", route, "200", "_sum") < HANG_SECONDS


@pytest.mark.slow
async def test_access_log_counts_accesses_and_losses(service: Service, server: Server) -> None:
    name = "flagstone_access_log_accesses_total"
    before = await scrape(service)
    await service.token(Scope.READ)
    for _ in range(3):
        await service.stranger.get("/metrics")
    with server.admin("suite") as connection:
        connection.execute(f"revoke insert on flagstone.access_log from {APP}")
        await service.app[ACCESS_LOG].run_once()
        connection.execute(f"grant insert on flagstone.access_log to {APP}")
    after = await scrape(service)
    await service.app[ACCESS_LOG].run_once()

    def more(name: str, **labels: str) -> float:
        return value(after, name, **labels) - value(before, name, **labels)

    assert (more(name, way="recorded"), more(name, way="noted")) == (1, 3)
    assert more("flagstone_access_log_write_failures_total") == 1
    assert more("flagstone_access_log_blurred_total") == 0
    assert more("flagstone_access_log_lines_dropped_total") == 0


@pytest.mark.slow
async def test_revision_change_sets_and_lag_have_the_environment(
    service: Service,
) -> None:
    before = await scrape(service)
    written = await service.client.put(LOCAL + "/configurations/k", json={"value": 1}, headers=NEW)
    await service.app[FOLLOWER].at_least("local", (await written.json())["revision"])
    after = await scrape(service)

    labels = {"environment": "local", "kind": "edit"}
    assert value(after, "flagstone_environment_revision", environment="local") == 1
    assert (
        value(after, "flagstone_change_sets_total", **labels)
        - value(before, "flagstone_change_sets_total", **labels)
        == 1
    )
    assert 0 <= value(after, "flagstone_follower_lag_seconds", environment="local") < HANG_SECONDS
    assert value(after, "flagstone_snapshot_stale_seconds") == 0


@pytest.mark.slow
async def test_evaluations_are_counted_once_by_reason(
    service: Service,
) -> None:
    flags = {"flags": {"on": flag(defaultVariant="on"), "broken": flag(targeting={"!": 1})}}
    put = await service.client.post(f"{LOCAL}/import?format=flagd&lenient=true", json=flags)
    await service.app[FOLLOWER].at_least("local", (await put.json())["revision"])
    before = await scrape(service)

    await service.client.post(f"{LOCAL}/ofrep/v1/evaluate/flags/on", json={})
    first = await scrape(service)
    await service.app[USAGE].run_once()
    await service.client.post(f"{LOCAL}/ofrep/v1/evaluate/flags", json={})
    await service.client.post(f"{LOCAL}/ofrep/v1/evaluate/flags/nothing", json={})
    second, third = await scrape(service), await scrape(service)

    def more(after: Samples) -> dict[str, float]:
        """Return the evaluations since the start of the test, by reason."""
        return {
            dict(labels)["reason"]: count - before.get((name, labels), 0)
            for (name, labels), count in after.items()
            if name == "flagstone_evaluations_total"
            and ("environment", "local") in labels
            and count != before.get((name, labels), 0)
        }

    assert more(first) == {"STATIC": 1}
    assert more(second) == more(third) == {"STATIC": 2, "GENERAL": 1}


async def test_metrics_have_streams_pool_tasks_and_process(service: Service) -> None:
    async with _stream(service):
        during = await scrape(service)

    assert value(during, "flagstone_streams", environment="local") == 1
    assert value(during, "flagstone_database_pool_connections_max") == 5
    assert value(during, "flagstone_task_up", task="follower") == 1
    assert value(during, "flagstone_heartbeat_last_success_timestamp_seconds") > 1e9
    assert value(during, "process_resident_memory_bytes") > 1e7


async def test_accept_of_openmetrics_gets_openmetrics(service: Service) -> None:
    answer = await service.client.get(
        "/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"}
    )

    assert answer.content_type == "application/openmetrics-text"
    assert (await answer.text()).endswith("# EOF\n")


@asynccontextmanager
async def _stream(service: Service) -> AsyncIterator[None]:
    answer = await service.client.get(LOCAL + "/events")
    await answer.content.readline()
    try:
        yield
    finally:
        answer.close()


async def test_invalid_accept_gets_the_default_format(service: Service) -> None:
    accept = "application/openmetrics-text;version=x.y.z;escaping=zz"

    answer = await service.client.get("/metrics", headers={"Accept": accept})

    assert (answer.status, answer.content_type) == (200, "text/plain")


async def test_data_keys_have_their_count_and_creation_time(
    service: Service,
) -> None:
    before = time.time()
    body = {"kind": "secret", "value": "canary"}
    await service.client.put(f"{LOCAL}/configurations/s", json=body, headers=NEW)
    vault = service.app[VAULT]
    async with service.app[DATABASE].connection() as connection:
        await vault.refresh(connection)

    samples = await scrape(service)

    key_id = vault.active_kek_id or ""
    assert value(samples, "flagstone_data_keys", kek_id=key_id) == 1
    created_at = value(samples, "flagstone_data_key_created_timestamp_seconds", environment="local")
    assert before <= created_at <= time.time()
    assert value(samples, "flagstone_keys_missing") == 0


@pytest.mark.slow
async def test_soonest_expiry_of_tokens_is_a_gauge(service: Service) -> None:
    """Operators need an alert before a token expires."""
    name = "flagstone_token_soonest_expiry_timestamp_seconds"
    soon = datetime.now(UTC).replace(microsecond=0) + timedelta(days=3)
    await service.token(Scope.READ)
    none = await scrape(service)

    for expires_at in (soon + timedelta(days=1), soon, soon - timedelta(days=5)):
        await service.token(Scope.READ, expires_at=expires_at)

    assert not [sample for sample, _ in none if sample == name]
    assert value(await scrape(service), name) == soon.timestamp()
