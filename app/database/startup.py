"""The components of the database: the server, the migrations and the connection pool."""

import time
from collections.abc import Iterable, Mapping
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial

from prometheus_client import Metric

from app.components import Component, HealthCheck, ReportScope, Status, gauge, gauges
from app.database.client.pool import Database
from app.database.client.primary import Primary
from app.database.client.reasons import connecting
from app.database.migrations import read_files
from app.database.migrations.up_to_date import is_up_to_date
from app.database.targets import Targets, connected, open_targets_async, watch_embedded
from app.log import logger
from app.settings import Settings, Target
from app.threads import in_thread

log = logger(__name__)

POOL_BUSY_RATIO = 0.9
# Within this time the follower and the heartbeat repeat their statements and find the fault again.
POOLER_SECONDS = 60.0


class DatabaseServer(Component):
    """The server of DATABASE_URL, or the embedded server, which is restarted when it dies."""

    name = "embedded"

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._stack = AsyncExitStack()
        self._targets: Targets | None = None
        if settings.database.target is None:
            self.run = partial(watch_embedded, settings)

    @property
    def targets(self) -> Targets:
        if self._targets is None:
            raise RuntimeError("the database server has not started")
        return self._targets

    async def start(self) -> None:
        self._targets = await self._stack.enter_async_context(open_targets_async(self._settings))
        log.info("database", target=self._targets.app.summary)

    async def close(self) -> None:
        await self._stack.aclose()


class Migrations(Component):
    """Applies the pending migrations at the start, unless MIGRATE_ON_START is false."""

    name = "migrate"

    def __init__(self, server: DatabaseServer, settings: Settings, primary: Primary) -> None:
        self._server = server
        self._settings = settings
        self._primary = primary

    async def start(self) -> None:
        if not self._settings.database.migrate_on_start:
            return
        target = self._server.targets.migrator
        # A retry connects again: another server may be the primary by then.
        async with connected(target, self._settings, self._primary) as session:
            target = replace(target, hosts=(session.address,))
            has_work = not await is_up_to_date(session, read_files())
        applied = await in_thread("migrate", lambda: self._migrate(target)) if has_work else []
        log.info("migrated", applied=len(applied))

    def _migrate(self, target: Target) -> list[str]:
        from app.database.migrations.runner import Migrator  # noqa: PLC0415 - see up_to_date.py

        migrator = Migrator(
            target=target, settings=self._settings.database, instance=self._settings.instance
        )
        return migrator.migrate(_log_start, _log_build)


def _log_start(_: str, done: int, total: int) -> None:
    if done == 0 and total:
        log.info("migrating", pending=total)


def _log_build(migration: str, step: str) -> None:
    log.info("building_index", migration=migration, step=step)


class Pool(Component):
    """Opens the connection pool of the service."""

    name = "connect"

    def __init__(self, server: DatabaseServer, settings: Settings, database: Database) -> None:
        self._server = server
        self._settings = settings
        self._database = database

    async def start(self) -> None:
        target = self._server.targets.app
        with connecting(target, self._settings.database):
            await self._database.open(target)

    async def close(self) -> None:
        await self._database.close()

    def checks(self, _: ReportScope) -> Mapping[str, HealthCheck]:
        return {
            "database:primary": self._primary_check(),
            "database:pooler": pooler_check(self._database),
            "pool:utilization": self._pool_check(),
        }

    def _primary_check(self) -> HealthCheck:
        """Fail if the only server that answers was the primary once: its data is superseded."""
        primary = self._database.primary
        refused = Status.WARN if primary.is_found else Status.FAIL
        outputs = [f"{host} is refused: {reason}" for host, reason in primary.refused.items()]
        return HealthCheck(
            status=refused if outputs else Status.PASS,
            component_type="datastore",
            observed_value=primary.timeline,
            observed_unit="timeline",
            output="; ".join(outputs) or None,
        )

    def _pool_check(self) -> HealthCheck:
        use = self._database.use
        busy = (use.size - use.idle) / use.limit
        return HealthCheck(
            status=Status.WARN if use.waiting or busy >= POOL_BUSY_RATIO else Status.PASS,
            observed_value=round(busy, 2),
            observed_unit="ratio",
            time=datetime.now(UTC),
            size=use.size,
            idle=use.idle,
            limit=use.limit,
            waiting=use.waiting,
        )

    def metrics(self) -> Iterable[Metric]:
        use = self._database.use
        yield gauges(
            "flagstone_database_pool_connections",
            "Open connections of the pool, by state.",
            "state",
            {"idle": use.idle, "used": use.size - use.idle},
        )
        yield gauge(
            "flagstone_database_pool_connections_max",
            "The limit of open connections.",
            use.limit,
        )
        yield gauge(
            "flagstone_database_pool_waiting",
            "Requests and tasks that wait for a connection.",
            use.waiting,
        )


def pooler_check(database: Database) -> HealthCheck:
    """Fail while the pooler loses prepared statements: most requests would fail here."""
    failed_at = database.pooler_failed_at
    has_failed = failed_at is not None and time.monotonic() - failed_at < POOLER_SECONDS
    output = "DATABASE_POOLER or DATABASE_STATEMENT_CACHE does not fit the pooler"
    return HealthCheck(
        status=Status.FAIL if has_failed else Status.PASS,
        component_type="datastore",
        output=output if has_failed else None,
    )
