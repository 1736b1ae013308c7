"""Recorded schema changes over HTTP; unrecorded ones in health and metrics."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from structlog.testing import capture_logs

from app.access.models import Scope
from app.database.migrations import LOCK_KEY, read_files
from app.database.role_names import APP, MIGRATOR, OWNER
from app.health.handlers import HEALTH
from app.schema.drift import DriftCheck
from tests.api.metrics import scrape, value
from tests.conftest import Server, Service

INDEX = "index CREATE INDEX by_hand ON flagstone.tokens USING btree (name)"


@pytest.fixture
def admin(server: Server, service: Service) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    """A superuser connection to the service's database. Its schema changes are reverted."""
    del service
    with server.admin("suite") as connection:
        yield connection
        connection.execute("drop index if exists flagstone.by_hand")
        connection.execute("alter event trigger flagstone_sql_drop enable always")
        connection.execute("alter event trigger flagstone_ddl_command_end enable always")
        connection.execute(f"grant select on flagstone_audit.schema_audit to {APP}")
        connection.execute(f"grant select on flagstone.schema_fingerprints to {APP}")


async def test_changes_are_listed_latest_first_in_pages(
    service: Service, admin: psycopg.Connection[tuple[object, ...]]
) -> None:
    admin.execute("create index by_hand on flagstone.tokens (name)")
    admin.execute("drop index flagstone.by_hand")

    first = await (await service.client.get("/v1/schema-audit?limit=1")).json()
    second = await (
        await service.client.get(f"/v1/schema-audit?limit=1&before={first['next']}")
    ).json()
    last = await (await service.client.get("/v1/schema-audit?before=1")).json()

    assert (first["status"], first["reason"]) == ("recording", None)
    for page, tag, statement in (
        (first, "DROP INDEX", "drop index flagstone.by_hand"),
        (second, "CREATE INDEX", "create index by_hand on flagstone.tokens (name)"),
    ):
        (item,) = page["items"]
        assert (item["tag"], item["object"], item["statement"]) == (
            tag,
            "flagstone.by_hand",
            statement,
        )
        assert item["session_role"] == item["acting_role"] == admin.info.user
    assert (last["items"], last["next"]) == ([], None)


async def test_migration_is_recorded_with_both_roles(
    service: Service,
) -> None:
    page = await (await service.client.get("/v1/schema-audit?limit=500")).json()

    # Other tests of this process may have altered the table as a superuser.
    (created,) = (
        item
        for item in page["items"]
        if (item["tag"], item["object"]) == ("CREATE TABLE", "flagstone.tokens")
    )
    assert (created["session_role"], created["acting_role"]) == (MIGRATOR, OWNER)


async def test_ledger_needs_the_read_scope(service: Service) -> None:
    token = {"X-API-Key": await service.token(Scope.READ)}
    listed = await (await service.stranger.get("/v1/migrations", headers=token)).json()
    refused = await service.stranger.get("/v1/schema-audit", headers=token)

    names = [file.name for file in read_files()]
    assert [item["name"] for item in listed["items"]] == names[::-1]
    assert {item["state"] for item in listed["items"]} == {"applied"}
    assert refused.status == 403


@pytest.mark.parametrize("query", ["limit=0", "before=x", "event=schema_change"])
async def test_unknown_query_parameter_is_refused(service: Service, query: str) -> None:
    answer = await service.client.get(f"/v1/schema-audit?{query}")

    assert (answer.status, (await answer.json())["errors"][0]["field"]) == (
        400,
        "query" if "event" in query else query.partition("=")[0],
    )


@pytest.mark.slow
async def test_drift_and_disabled_trigger_only_warn(
    service: Service,
    admin: psycopg.Connection[tuple[object, ...]],
) -> None:
    drift = service.component(DriftCheck)
    admin.execute("alter event trigger flagstone_ddl_command_end disable")
    admin.execute("create index by_hand on flagstone.tokens (name)")
    with capture_logs() as logged:
        await drift.run_once()
        await drift.run_once()

    report = service.app[HEALTH].report()
    ready = await service.stranger.get("/health/ready")
    warned = await scrape(service)
    page = await (await service.client.get("/v1/schema-audit?limit=1")).json()
    admin.execute("drop index flagstone.by_hand")
    admin.execute("alter event trigger flagstone_ddl_command_end enable always")
    await drift.run_once()
    well = service.app[HEALTH].report()
    samples = await scrape(service)

    (drift_check,), (audit,) = report.checks["schema:drift"], report.checks["schema:audit"]
    assert (drift_check.status, drift_check.observed_value, drift_check.output) == (
        "warn",
        1,
        f"+ {INDEX}",
    )
    reason = "the event trigger flagstone_ddl_command_end is disabled or altered"
    assert (audit.status, audit.output) == ("warn", reason)
    assert (page["status"], page["reason"]) == ("broken", reason)
    assert (ready.status, (await ready.json(content_type=None))["status"]) == (200, "warn")
    assert value(warned, "flagstone_schema_drift_facts") == 1
    assert value(warned, "flagstone_schema_audit_recording") == 0
    for name in ("schema:drift", "schema:audit"):
        assert well.checks[name][0].status == "pass"
    assert value(samples, "flagstone_schema_drift_facts") == 0
    assert value(samples, "flagstone_schema_audit_recording") == 1
    # New drift is logged once, however often it is detected.
    lines = [line for line in logged if line["event"].startswith("schema_")]
    assert [(line["event"], line["log_level"]) for line in lines] == [
        ("schema_drift", "warning"),
        ("schema_recording", "warning"),
    ]


async def test_revoked_right_is_reported_and_the_task_goes_on(
    service: Service, admin: psycopg.Connection[tuple[object, ...]]
) -> None:
    drift = service.component(DriftCheck)
    admin.execute(f"revoke all on flagstone_audit.schema_audit from {APP}")
    page = await (await service.client.get("/v1/schema-audit")).json()
    admin.execute(f"revoke all on flagstone.schema_fingerprints from {APP}")
    await drift.run_once()
    blind = service.app[HEALTH].report().checks["schema:drift"][0]
    admin.execute(f"grant select on flagstone_audit.schema_audit to {APP}")
    admin.execute(f"grant select on flagstone.schema_fingerprints to {APP}")
    await drift.run_once()
    well = service.app[HEALTH].report().checks["schema:drift"][0]

    assert (page["status"], page["items"]) == ("broken", [])
    assert (blind.status, blind.output) == (
        "warn",
        "the check failed, see the log",
    )
    assert well.status == "pass"


@pytest.mark.slow
async def test_failed_comparison_is_a_warning(
    service: Service, server: Server, admin: psycopg.Connection[tuple[object, ...]]
) -> None:
    drift = service.component(DriftCheck)
    with admin.transaction():
        admin.execute("create temporary table saved as select * from flagstone.schema_fingerprints")
        admin.execute("truncate flagstone.schema_fingerprints")
    await drift.run_once()
    lost = service.app[HEALTH].report().checks["schema:drift"][0]
    samples = await scrape(service)
    admin.execute(
        "insert into flagstone.schema_fingerprints overriding system value select * from saved"
    )
    await drift.run_once()
    well = service.app[HEALTH].report().checks["schema:drift"][0]
    # Any role could hold this lock, and block all checks.
    with server.admin("suite") as other:
        other.execute("select pg_advisory_lock(%s)", [LOCK_KEY])
        drift.checked_at = datetime.now(UTC) - timedelta(hours=1)
        await drift.run_once()
        stale = service.app[HEALTH].report()
        gone = await scrape(service)
    await drift.run_once()

    assert lost.status == "warn"
    assert (lost.output or "").startswith("no expected schema is stored")
    assert "flagstone_schema_drift_facts" not in {name for name, _ in samples}
    assert (well.status, well.output) == ("pass", None)
    for name in ("schema:drift", "schema:audit"):
        (check,) = stale.checks[name]
        assert check.status == "warn"
        assert re.fullmatch(r"not checked for 36\d\d seconds", check.output or "")
    assert "flagstone_schema_audit_recording" not in {name for name, _ in gone}
