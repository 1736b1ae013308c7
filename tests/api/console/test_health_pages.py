"""The pages of health, the doctor and the schema."""

import html
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
from aiohttp import ClientSession

from app.access.guard import TOKENS
from app.access.models import Scope
from app.console.health.heartbeats import BARS, HEIGHT, strip_of
from app.console.health.rates import RATES
from app.console.health.views import spark_points
from app.database import Database
from app.flags.handlers import USAGE
from app.health.heartbeat import Heartbeat
from app.http.keys import DATABASE
from app.settings import Settings
from tests.conftest import Admin, Service
from tests.factories import flag

HEALTH, DOCTOR, SCHEMA = "/console/health", "/console/health/doctor", "/console/schema"
SINCE = datetime(2026, 3, 1, tzinfo=UTC)


async def read(
    browser: ClientSession, path: str, status: int = 200, headers: Mapping[str, str] | None = None
) -> str:
    async with browser.get(path, headers=headers) as answer:
        assert answer.status == status, await answer.text()
        return html.unescape(await answer.text())


async def test_health_shows_heartbeats_checks_and_environments(
    service: Service, console: ClientSession
) -> None:
    await service.component(Heartbeat).run_once()

    page = await read(console, HEALTH)

    assert "% available" in page
    assert page.count("<rect class=") >= BARS
    assert "The heartbeat is written" in page
    assert "database:write" in page
    assert "idle, at most" in page
    for environment in ("local", "production"):
        assert f'<th scope="row">{environment}</th>' in page
    assert "background tasks running" in page


async def test_health_refreshes_itself_without_extending_the_session(
    service: Service, console: ClientSession, cleaner: Admin
) -> None:
    page = await read(console, HEALTH)
    assert 'hx-trigger="every 10s"' in page
    assert """hx-headers='{"X-Background": "1"}'""" in page
    directory = service.app[TOKENS]
    directory.sessions.use([])
    cleaner.execute("update flagstone.sessions set last_seen_at = last_seen_at - interval '1 hour'")
    await directory.refresh()

    fragment = await read(console, HEALTH, headers={"HX-Request": "true", "X-Background": "1"})

    assert "<html" not in fragment
    assert directory.sessions.take_seen() == {}
    await read(console, HEALTH)
    assert len(directory.sessions.take_seen()) == 1


async def test_health_without_database_says_so(
    service: Service, console: ClientSession, settings: Settings
) -> None:
    with service.using(DATABASE, Database(settings.database)):
        page = await read(console, HEALTH)

    assert "The heartbeats cannot be read: The database is not connected yet." in page
    assert "Connections to the database" in page


async def test_health_shows_only_own_environments(service: Service) -> None:
    token = await service.token(Scope.READ, environments=("local",))
    async with service.signed_in(token) as browser:
        page = await read(browser, HEALTH)
        assert "production" not in page
        assert "Examine now" not in page
        await read(browser, DOCTOR, 403)


async def test_evaluation_rate_is_sampled(service: Service, console: ClientSession) -> None:
    path = "/v1/environments/local/configurations/a"
    body = {"kind": "flag", "value": flag(defaultVariant="on")}
    async with service.client.put(path, json=body, headers={"If-None-Match": "*"}) as answer:
        assert answer.status == 201
    rates = service.app[RATES]
    await rates.run_once()
    url = "/v1/environments/local/ofrep/v1/evaluate/flags/a"
    for _ in range(5):
        async with service.client.post(url, json={"context": {}}) as answer:
            assert answer.status == 200
    await rates.run_once()
    await service.app[USAGE].run_once()

    assert rates.of("local")[-1] > 0
    assert rates.of("nowhere")[-1] == 0
    assert "<polyline points=" in await read(console, HEALTH)


async def test_doctor_shows_every_finding(console: ClientSession) -> None:
    page = await read(console, DOCTOR)

    assert "Verdict" in page
    for name in ("app connection", "migrations", "key ring", "token key"):
        assert name in page
    fragment = await read(console, DOCTOR, headers={"HX-Request": "true"})
    assert "<html" not in fragment
    assert "migrations" in fragment


async def test_schema_shows_ledger_and_recorded_changes(
    console: ClientSession, cleaner: Admin
) -> None:
    cleaner.execute("create table flagstone.by_hand (a int)")
    try:
        page = await read(console, SCHEMA)
    finally:
        cleaner.execute("drop table flagstone.by_hand")

    assert "CreateSessionsTable" in page
    assert "applied" in page
    assert "CREATE TABLE" in page
    assert "flagstone.by_hand" in page


async def test_schema_of_a_reader_has_no_recorded_changes(service: Service) -> None:
    async with service.signed_in(await service.token(Scope.READ)) as browser:
        page = await read(browser, SCHEMA)

    assert "CreateSessionsTable" in page
    assert "Only administrators see who changed the schema." in page
    assert "CREATE TABLE" not in page


async def test_recorded_changes_are_paged(console: ClientSession) -> None:
    page = await read(console, SCHEMA)
    match = re.search(r'hx-get="(/console/schema\?before=\d+)"', page)
    assert match is not None

    rows = await read(console, match[1], headers={"HX-Request": "true"})

    assert "<html" not in rows
    assert rows.count("<tr>") >= 1


def _row(bucket: int | None, **fields: Any) -> dict[str, Any]:
    row = {
        "bucket": bucket,
        "good": 20,
        "missed": 0,
        "last_at": SINCE,
        "latency_p50_ms": 1.0,
        "latency_p99_ms": 2.0,
    }
    return row | fields


def test_strip_counts_gaps_between_heartbeats_as_missed() -> None:
    rows = [_row(None, good=60), _row(2), _row(3, missed=2, good=18), _row(6)]

    strip = strip_of("a", rows, since=SINCE, bucket_seconds=300, due=20)

    kinds = [bar.kind for bar in strip.bars]
    assert kinds[:8] == ["none", "none", "ok", "missed", "missed", "missed", "ok", "none"]
    assert len(kinds) == BARS
    assert strip.missed == 40
    assert strip.availability == pytest.approx(0.6)
    assert strip.bars[2].text.startswith("2026-03-01T00:10:00Z: 20 heartbeats")
    assert strip.bars[4].text.endswith("every heartbeat missed")


def test_strip_without_latency_is_drawn() -> None:
    rows = [_row(None, latency_p50_ms=None, latency_p99_ms=None), _row(0, latency_p99_ms=None)]

    strip = strip_of("", rows, since=SINCE, bucket_seconds=300, due=20)

    assert strip.instance == "unnamed"
    assert all(0 <= bar.y <= HEIGHT and 0 < bar.height <= HEIGHT for bar in strip.bars)


@pytest.mark.parametrize(
    ("values", "points"),
    [([], ""), ([1.0], ""), ([0.0, 0.0], "0.0,22.0 120.0,22.0"), ([0, 2.0], "0.0,22.0 120.0,2.0")],
)
def test_spark_line_fits_its_picture(values: list[float], points: str) -> None:
    assert spark_points(values) == points
