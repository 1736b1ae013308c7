"""The probes and the report."""

import asyncio
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest

from app.access.directory import TokenDirectory
from app.access.guard import TOKENS
from app.components import HealthCheck
from app.configuration.snapshots.disk import Disk
from app.configuration.snapshots.disk_copy import DiskCopy
from app.configuration.snapshots.follower import Follower
from app.configuration.snapshots.reading import FOLLOWER
from app.database import Database
from app.health.handlers import HEALTH
from app.health.heartbeat import MISSES_UNTIL_FAIL, Heartbeat
from app.http.keys import DATABASE, LIFECYCLE
from app.schema.version_check import SchemaCheck
from app.secrets.vault import Vault
from app.secrets.vault_refresh import VaultRefresh
from app.settings import Secret, Settings, Target
from app.tasks import Tasks
from tests.conftest import Server, Service
from tests.waiting import HANG_SECONDS, until

KEY = Secret("k" * 32)


async def test_probes_need_no_token_and_give_only_the_status(service: Service) -> None:
    for probe in ("live", "started"):
        answer = await service.stranger.get(f"/health/{probe}")
        assert (answer.status, await answer.json(content_type=None)) == (200, {"status": "pass"})
        assert answer.content_type == "application/health+json"
        assert answer.headers["Cache-Control"] == "no-store"


async def test_readiness_has_the_last_row_of_health_check(service: Service, server: Server) -> None:
    # The first one also writes the rows of heartbeats that earlier tests made it miss.
    for _ in range(2):
        await service.component(Heartbeat).run_once()
    with server.admin("suite") as connection:
        last = connection.execute(
            "select id, status, checked_at, latency_ms, instance from flagstone.health_check "
            "order by id desc limit 1"
        ).fetchone()
    answer = await service.stranger.get("/health/ready")
    body = await answer.json(content_type=None)

    assert (answer.status, answer.content_type) == (200, "application/health+json")
    assert answer.headers["Cache-Control"] == "no-store"
    assert set(body) == {"status", "checks"}
    ((name, (check,)),) = body["checks"].items()
    row = check["row"]
    assert (body["status"], name, check["status"]) == ("pass", "database:write", "pass")
    assert last is not None
    checked_at = datetime.fromisoformat(row["checked_at"])
    assert (row["id"], row["status"], checked_at, row["latency_ms"], row["instance"]) == last
    assert list(row) == ["id", "status", "checked_at", "latency_ms", "instance"]
    assert check["ageSeconds"] >= 0
    assert check["consecutiveFailures"] == 0
    assert set(check) == {
        *("status", "componentType", "observedValue", "observedUnit", "time"),
        *("ageSeconds", "consecutiveFailures", "row"),
    }


async def test_clock_skew_of_more_than_a_second_is_a_warning(service: Service) -> None:
    heartbeat = service.component(Heartbeat)
    await heartbeat.run_once()
    good = heartbeat.last_good
    assert good is not None
    before = await (await service.client.get("/health")).json(content_type=None)
    heartbeat.last_good = replace(good, skew_seconds=-2.5)
    try:
        after = await (await service.client.get("/health")).json(content_type=None)
    finally:
        heartbeat.last_good = good

    assert "clock:skew" not in before["checks"]
    (check,) = after["checks"]["clock:skew"]
    assert (check["status"], check["observedValue"], check["observedUnit"]) == ("warn", -2.5, "s")


async def test_readiness_after_a_miss_has_the_last_row_and_the_count(
    service: Service, settings: Settings
) -> None:
    """Only the report has the reason of a failure, and it needs a token."""
    gone = Heartbeat(Database(settings.database), settings.health, "gone")
    await gone.run_once()
    good = service.component(Heartbeat)
    with service.replaced(gone):
        never = await (await service.stranger.get("/health/ready")).json(content_type=None)
        gone.last_good = good.last_good
        missed = await (await service.stranger.get("/health/ready")).json(content_type=None)
        report = await (await service.client.get("/health")).json(content_type=None)

    (check,) = never["checks"]["database:write"]
    assert (never["status"], check["consecutiveFailures"], "row" in check) == ("warn", 1, False)
    (check,) = missed["checks"]["database:write"]
    assert good.last_good is not None
    assert good.last_good.row is not None
    assert (missed["status"], check["consecutiveFailures"]) == ("warn", 1)
    assert check["row"]["id"] == good.last_good.row.id
    assert "output" not in check
    assert report["checks"]["database:write"][0]["output"] == "database_away"


async def test_report_needs_a_token_and_has_every_check(service: Service) -> None:
    refused = await service.stranger.get("/health")
    report = await (await service.client.get("/health")).json(content_type=None)

    assert refused.status == 401
    assert {"database:write", "pool:utilization", "migrations:pending", "keys", "tasks:keys"} < set(
        report["checks"]
    )
    write = report["checks"]["database:write"][0]
    assert (write["status"], write["observedUnit"]) == ("pass", "ms")
    assert report["checks"]["migrations:pending"][0]["observedValue"] == 0


async def test_state_that_cannot_be_written_to_disk_warns(
    service: Service, settings: Settings, tmp_path: Path
) -> None:
    disk = Disk(tmp_path, Secret("k" * 32), settings.tier)
    keeper = DiskCopy(service.app[FOLLOWER], service.app[TOKENS], disk)
    (tmp_path / "snapshots").touch()
    await keeper.run_once()
    health = service.app[HEALTH]
    with service.replaced(keeper):
        warned = health.report()
        (tmp_path / "snapshots").unlink()
        await keeper.run_once()
        well = health.report()

    assert (warned.checks["disk:snapshots"][0].output, warned.status) == ("file exists", "warn")
    assert well.checks["disk:snapshots"][0].status == "pass"


async def test_tokens_that_cannot_be_read_fail_readiness(service: Service, server: Server) -> None:
    """Other instances know of a revocation, and this one still accepts the token."""
    health = service.app[HEALTH]
    directory = TokenDirectory(service.app[DATABASE], KEY)
    with service.replaced(directory):
        with server.admin("suite") as connection:
            connection.execute("revoke select on flagstone.tokens from flagstone_app")
            try:
                await directory.refresh_if_possible()
                failed = health.report()
            finally:
                connection.execute("grant select on flagstone.tokens to flagstone_app")
        await directory.refresh_if_possible()
        well = health.report()

    assert (failed.checks["tokens"][0].status, failed.status) == ("fail", "fail")
    assert "rights" in str(failed.checks["tokens"][0].output)
    assert well.checks["tokens"][0].status == "pass"
    assert well.checks["tokens"][0].observed_value == len(directory.usable)


async def test_data_keys_that_cannot_be_read_warn(
    service: Service, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(VaultRefresh, "poll_seconds", 0.05)
    health = service.app[HEALTH]
    refresh = VaultRefresh(Vault(), service.app[DATABASE])
    refreshing = asyncio.create_task(refresh.run())

    async def warns() -> bool:
        return "data keys not read" in str(health.report().checks["keys"][0].output)

    async def is_well() -> bool:
        return not await warns()

    with service.replaced(refresh):
        try:
            with server.admin("suite") as connection:
                connection.execute("revoke select on flagstone.data_keys from flagstone_app")
                try:
                    await until(warns)
                    warned = health.report().checks["keys"][0]
                finally:
                    connection.execute("grant select on flagstone.data_keys to flagstone_app")
            await until(is_well)
        finally:
            refreshing.cancel()

    assert warned.status == "warn"
    assert "rights" in str(warned.output)


async def test_environment_named_disk_has_its_own_check(service: Service) -> None:
    body = {"name": "disk", "tier": "staging"}
    assert (await service.client.post("/v1/environments", json=body)).status == 201
    await service.app[FOLLOWER].refresh()

    checks = service.app[HEALTH].report().checks

    assert checks["snapshot:disk"][0].observed_unit == "revision"
    assert checks["disk:snapshots"][0].observed_unit is None


async def test_tokens_without_a_database_warn(service: Service, settings: Settings) -> None:
    directory = TokenDirectory(Database(settings.database), KEY)
    await directory.refresh_if_possible()
    with service.replaced(directory):
        warned = service.app[HEALTH].report()

    assert (warned.checks["tokens"][0].status, warned.status) == ("warn", "warn")


@pytest.mark.parametrize(
    ("break_", "mend", "output"),
    [
        (
            "revoke select on flagstone.environments from flagstone_app",
            "grant select on flagstone.environments to flagstone_app",
            "rights",
        ),
        (
            "alter table flagstone.environments rename column metadata to other",
            "alter table flagstone.environments rename column other to metadata",
            "schema",
        ),
        (
            (
                "create policy broken on flagstone.environments using (1 / 0 > 0); "
                "alter table flagstone.environments enable row level security"
            ),
            (
                "alter table flagstone.environments disable row level security; "
                "drop policy broken on flagstone.environments"
            ),
            "unexpected error",
        ),
    ],
)
async def test_follower_that_cannot_follow_fails_readiness(
    service: Service,
    server: Server,
    monkeypatch: pytest.MonkeyPatch,
    break_: str,
    mend: str,
    output: str,
) -> None:
    monkeypatch.setattr("app.configuration.snapshots.follower.Follower.poll_seconds", 0.05)
    monkeypatch.setattr("app.configuration.snapshots.source.STALE_AFTER_SECONDS", 0.0)
    health = service.app[HEALTH]
    follower = Follower(service.app[DATABASE])
    await follower.refresh()
    following = asyncio.create_task(follower.run())

    def failed() -> list[HealthCheck]:
        checks = [check for (check,) in health.report().checks.values()]
        return [check for check in checks if check.status == "fail"]

    async def has_failed() -> bool:
        return bool(failed())

    async def is_well() -> bool:
        return not failed()

    with service.replaced(follower):
        try:
            with server.admin("suite") as connection:
                # In a thread: the lock waits for polls, which run on this event loop.
                await asyncio.to_thread(connection.execute, break_.encode())
                try:
                    await until(has_failed)
                    failures = failed()
                    ready = await service.stranger.get("/health/ready")
                finally:
                    await asyncio.to_thread(connection.execute, mend.encode())
            await until(is_well)
        finally:
            following.cancel()

    assert ready.status == 503
    assert all(output in str(check.output) for check in failures)


async def test_follower_without_a_database_warns(
    service: Service, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.configuration.snapshots.source.STALE_AFTER_SECONDS", 0.0)
    follower = Follower(Database(settings.database))
    follower.adopt(service.app[FOLLOWER].loaded(), confirmed_at=0.0)
    following = asyncio.create_task(follower.run())
    with service.replaced(follower):
        follower.hint()
        await asyncio.sleep(0)
        status = service.app[HEALTH].report().status
    following.cancel()

    assert status == "warn"


async def test_draining_fails_readiness_alone(service: Service) -> None:
    lifecycle = service.app[LIFECYCLE]
    lifecycle.draining.set()
    try:
        ready = await service.stranger.get("/health/ready")
        live = await service.stranger.get("/health/live")
        served = await service.client.get("/v1/environments")
    finally:
        lifecycle.draining.clear()

    assert (ready.status, live.status, served.status) == (503, 200, 200)
    assert served.headers["Connection"] == "close"


async def test_older_schema_fails_readiness_and_newer_one_warns(
    service: Service, server: Server
) -> None:
    schema = service.component(SchemaCheck)
    with server.admin("suite") as connection:
        connection.execute(
            "update flagstone.migrations set name = 'Future' where name like '%AddForeignKeys'"
        )
    try:
        await schema.run_once()
        older = await service.stranger.get("/health/ready")
    finally:
        with server.admin("suite") as connection:
            connection.execute(
                "update flagstone.migrations set name = '1795890000400-AddForeignKeys' "
                "where name = 'Future'"
            )
    await schema.run_once()
    state = schema.state
    assert state is not None
    schema.state = replace(state, unknown=1)
    newer = await service.stranger.get("/health/ready")
    await schema.run_once()

    assert older.status == 503
    assert (newer.status, (await newer.json(content_type=None))["status"]) == (200, "warn")


# Reading the view divides by zero: an error of PostgreSQL without a handler.
_BREAK_MIGRATIONS = """
alter table flagstone.migrations rename to renamed;
create view flagstone.migrations as
    select name, 'applied'::text as state, "timestamp" / 0 as "timestamp" from flagstone.renamed;
grant select on flagstone.migrations to flagstone_app;
"""
_MEND_MIGRATIONS = """
drop view flagstone.migrations;
alter table flagstone.renamed rename to migrations;
"""


async def test_failing_background_task_warns_until_it_recovers(
    service: Service, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An instance that answers requests stays ready when a background task fails."""
    # A busy machine must not take a run that fails late for one that works.
    monkeypatch.setattr("app.tasks.RECOVERY_SECONDS", HANG_SECONDS)
    monkeypatch.setattr("app.tasks.PAUSE_SECONDS", 0.01)
    tasks, health = Tasks(), service.app[HEALTH]
    real, health.tasks = health.tasks, tasks

    async def reported(status: str) -> None:
        async with asyncio.timeout(HANG_SECONDS):
            while health.report().checks["tasks:schema"][0].status != status:  # noqa: ASYNC110
                await asyncio.sleep(0.01)

    try:
        with server.admin("suite") as connection:
            connection.execute(_BREAK_MIGRATIONS)
            try:
                tasks.start("schema", service.component(SchemaCheck).run)
                await reported("warn")
                ready = await service.stranger.get("/health/ready")
                check = health.report().checks["tasks:schema"][0]
                monkeypatch.setattr("app.tasks.RECOVERY_SECONDS", 0.2)
                # Then the next run, which may be the first one that works, has the short time.
                await asyncio.wait_for(
                    _failed_again(tasks, check.consecutive_failures), HANG_SECONDS
                )
            finally:
                connection.execute(_MEND_MIGRATIONS)
        await reported("pass")
    finally:
        await tasks.stop()
        health.tasks = real

    assert (ready.status, (await ready.json(content_type=None))["status"]) == (200, "warn")
    assert check.output == "failed, is restarted; see task_failed in the log"


async def _failed_again(tasks: Tasks, failures: int | None) -> None:
    while tasks.failures["schema"] <= (failures or 0):  # noqa: ASYNC110 - has no event
        await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    ("refuse", "allow", "code"),
    [
        (
            "revoke insert on flagstone.health_check from flagstone_app",
            "grant insert on flagstone.health_check to flagstone_app",
            "schema_unfit",
        ),
        (
            "alter table flagstone.health_check add constraint c check (instance = '') not valid",
            "alter table flagstone.health_check drop constraint c",
            "database_error",
        ),
    ],
)
async def test_heartbeat_that_postgresql_refuses_is_missed(
    service: Service, server: Server, settings: Settings, refuse: str, allow: str, code: str
) -> None:
    heartbeat = Heartbeat(service.app[DATABASE], settings.health, "refused")
    health = service.app[HEALTH]
    with service.replaced(heartbeat), server.admin("suite") as connection:
        connection.execute(refuse)
        try:
            for _ in range(MISSES_UNTIL_FAIL):
                await heartbeat.run_once()
            refused = health.report().checks["database:write"][0]
            connection.execute(allow)
            await heartbeat.run_once()
            well = health.report().checks["database:write"][0]
        finally:
            if heartbeat.misses_in_a_row:
                connection.execute(allow)

    assert (refused.status, refused.output) == ("warn", code)
    assert refused.consecutive_failures == MISSES_UNTIL_FAIL
    assert (well.status, well.consecutive_failures) == ("pass", 0)


async def test_three_misses_fail_an_instance_without_snapshots(
    service: Service, settings: Settings, database_target: Target
) -> None:
    database = Database(settings.database)
    heartbeat = Heartbeat(database, settings.health, "returns")
    heartbeat.last = heartbeat.last_good = service.component(Heartbeat).last_good
    health, statuses = service.app[HEALTH], []
    with service.replaced(heartbeat):
        for _ in range(MISSES_UNTIL_FAIL):
            await heartbeat.run_once()
            statuses.append(health.report().status)
        with service.replaced(Follower(service.app[DATABASE])):
            statuses.append(health.report().status)
        await database.open(database_target)
        await heartbeat.run_once()
        # The whole report may warn of a poll that is late on a busy machine.
        recovered = health.report().checks["database:write"][0].status
    await database.close()

    assert (statuses, recovered) == (["warn", "warn", "warn", "fail"], "pass")


async def test_missed_heartbeats_are_written_later(
    settings: Settings, server: Server, database_target: Target
) -> None:
    database = Database(settings.database)
    heartbeat = Heartbeat(database, settings.health, "late")
    await heartbeat.run_once()
    await heartbeat.run_once()

    await database.open(database_target)
    await heartbeat.run_once()
    await database.close()

    with server.admin("suite") as connection:
        rows = connection.execute(
            "select status, latency_ms is null from flagstone.health_check "
            "where instance = 'late' order by checked_at"
        ).fetchall()
    assert rows == [("fail", True), ("fail", True), ("ok", False)]


async def test_old_heartbeats_are_deleted_by_new_ones(
    service: Service, settings: Settings, server: Server
) -> None:
    with server.admin("suite") as connection:
        connection.execute(
            "insert into flagstone.health_check (instance, checked_at) "
            "select 'old', now() - interval '1 year' from generate_series(1, 30)"
        )
    heartbeat = Heartbeat(service.app[DATABASE], settings.health, "trimmer")

    await heartbeat.run_once()
    await heartbeat.run_once()

    with server.admin("suite") as connection:
        row = connection.execute(
            "select count(*) from flagstone.health_check where instance = 'old'"
        ).fetchone()
    assert row == (0,)


async def test_exhausted_pool_warns(
    service: Service, settings: Settings, database_target: Target
) -> None:
    limits = replace(settings.database, pool_min=1, pool_max=1, acquire_timeout_seconds=0.3)
    database = Database(limits)
    await database.open(database_target)
    heartbeat = Heartbeat(database, settings.health, "busy")
    await heartbeat.run_once()
    async with database.connection():
        for _ in range(MISSES_UNTIL_FAIL):
            await heartbeat.run_once()
    await database.close()
    with service.replaced(heartbeat):
        report = service.app[HEALTH].report()

    check = report.checks["database:write"][0]
    assert (report.status, check.status, check.output) == ("warn", "warn", "pool_exhausted")
