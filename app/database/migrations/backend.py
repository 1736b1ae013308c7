"""The yoyo backend, which applies a migration and records it in one transaction.

yoyo itself commits the change and its record separately, locks with a row that stays after a crash,
and hashes only names. This class overrides these methods. They are undocumented, so yoyo-migrations
is pinned to 9.0.0, and each override has a test.
"""

import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.rows import class_row
from yoyo.backends.core.postgresql import PostgresqlPsycopgBackend
from yoyo.migrations import Migration

from app.database.client.drivers import SCHEMA, SEARCH_PATH
from app.database.migrations.files import LOCK_KEY, MigrationError, MigrationFile
from app.database.migrations.index_progress import Report, index_progress
from app.log import logger
from app.tasks import Backoff

log = logger(__name__)

LOCK_WAIT_SECONDS = 600
# About 70 s in all, with the pauses.
_LOCK_ATTEMPTS = 20
_SESSION = (
    # All later queries on a table queue behind a lock that waits, and they give up after
    # DATABASE_LOCK_TIMEOUT. PostgreSQL looks for deadlocks after 1 s: so the migrator gives way,
    # and not the request.
    "set lock_timeout = '300ms'",
    "set statement_timeout = 0",
    "set idle_in_transaction_session_timeout = '60s'",
    # The statement of a killed migrator ends within 1 s.
    "set client_connection_check_interval = '1s'",
)
# An index that is built or dropped concurrently blocks no query while it waits for transactions.
_PATIENCE = "set lock_timeout = '3s'"
_INVALID_INDEX = (
    "select pg_class.relname from pg_index join pg_class on pg_class.oid = pg_index.indexrelid "
    "where pg_class.relnamespace = to_regnamespace(%s) and not pg_index.indisvalid limit 1"
)


@dataclass(frozen=True, kw_only=True)
class Record:
    """A row of the ledger."""

    name: str
    timestamp: int
    checksum: str
    state: str
    instance: str
    applied_at: Any
    duration_ms: int | None
    applied_text: str
    rollback_text: str


class LedgerBackend(PostgresqlPsycopgBackend):  # type: ignore[misc]
    """A yoyo backend whose ledger is our table `migrations`."""

    def __init__(
        self,
        arguments: Mapping[str, Any],
        *,
        owner: str,
        instance: str,
        files: Mapping[str, MigrationFile],
    ) -> None:
        self._arguments = dict(arguments)
        self._owner = owner
        self._instance = instance
        self._files = files
        super().__init__(dburi=None, migration_table="migrations")

    def connect(self, dburi: object) -> psycopg.Connection[Any]:
        del dburi
        connection = psycopg.connect(**self._arguments, autocommit=True)
        self._begin_session(connection)
        return connection

    def _begin_session(self, connection: psycopg.Connection[Any]) -> None:
        """Reset the session, so that a file does not depend on settings of the file before."""
        connection.execute("reset role")
        connection.execute("reset all")
        for statement in _SESSION:
            if "client_connection_check" in statement and connection.info.server_version < 140000:
                continue
            connection.execute(statement)
        connection.execute(f"set search_path = {SEARCH_PATH}")
        is_member = connection.execute(
            "select pg_has_role(oid, 'member') from pg_roles where rolname = %s", [self._owner]
        ).fetchone()
        if is_member is not None and is_member[0]:
            connection.execute(f'set role "{self._owner}"')

    def init_database(self) -> None:
        """Create the schema if missing. yoyo would create a lock table and a probe table."""
        if not self._value("select to_regnamespace(%s) is not null", SCHEMA):
            self.connection.execute(f"create schema if not exists {SCHEMA}")

    @contextmanager
    def lock(self, timeout: float = LOCK_WAIT_SECONDS) -> Iterator[None]:
        """Hold the advisory lock, which the server releases when the connection ends.

        Poll for it: a session that waits in pg_advisory_lock holds a snapshot, and a CREATE INDEX
        CONCURRENTLY of another session would wait for that.
        """
        deadline = time.monotonic() + timeout
        while not self._value("select pg_try_advisory_lock(%s)", LOCK_KEY):
            if time.monotonic() > deadline:
                raise MigrationError(
                    f"another instance has held the migration lock for {timeout:.0f} s"
                )
            time.sleep(random.uniform(0.1, 0.4))  # noqa: S311 - spreads the polls
        try:
            yield
        finally:
            if not self.connection.closed:
                self._value("select pg_advisory_unlock(%s)", LOCK_KEY)

    def records(self) -> list[Record]:
        """Return the ledger in order of timestamps, or an empty list before the first migration."""
        if not self._value("select to_regclass('migrations') is not null"):
            return []
        cursor = self.connection.cursor(row_factory=class_row(Record))
        records: list[Record] = cursor.execute(
            'select name, "timestamp", checksum, state, instance, applied_at, duration_ms, '
            'applied_text, rollback_text from migrations order by "timestamp"'
        ).fetchall()
        return records

    def apply_one(self, migration: Migration, report: Report) -> None:
        """Apply one migration, and report how far the build of an index is."""
        self._begin_session(self.connection)
        migration.load()
        if migration.use_transactions:
            self._run_transaction(lambda: self._apply(migration))
            return
        self.connection.execute(_PATIENCE)
        pid = self.connection.info.backend_pid
        with index_progress(self._connect_again, pid, report):
            self._apply_without_transaction(migration)

    def _connect_again(self) -> psycopg.Connection[Any]:
        return psycopg.connect(**self._arguments, autocommit=True)

    def rollback_one(self, migration: Migration, remark: str) -> None:
        """Roll back one migration. The remark is added to the access log."""
        self._begin_session(self.connection)
        migration.load()
        if migration.use_transactions:
            self._run_transaction(lambda: self._roll_back(migration, remark))
        else:
            self.connection.execute(_PATIENCE)
            # Delete the record last: after a kill in between, the next run rolls back again.
            migration.process_steps(self, "rollback")
            self._delete_record(migration, remark)

    def _run_transaction(self, work: Callable[[], None]) -> None:
        """Run the work in a transaction. If a lock is not free in time, pause and retry."""
        backoff = Backoff(0.5, 4.0)
        for attempt in range(1, _LOCK_ATTEMPTS + 1):
            try:
                with self.transaction():
                    work()
            except (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected):
                if attempt == _LOCK_ATTEMPTS:
                    raise
                if attempt == 1:
                    log.warning("migration_waits_for_table", attempts_max=_LOCK_ATTEMPTS)
                time.sleep(backoff.next())
            else:
                return

    def _apply(self, migration: Migration) -> None:
        started = time.monotonic()
        migration.process_steps(self, "apply")
        self._record(migration, "applied", started)

    def _roll_back(self, migration: Migration, remark: str) -> None:
        # Delete the record first: the rollback of the first migration drops the ledger.
        self._delete_record(migration, remark)
        migration.process_steps(self, "rollback")

    def _apply_without_transaction(self, migration: Migration) -> None:
        """Record `running`, run the statements, record `applied`.

        After a kill in between, the next start runs them again, so they must be repeatable: `drop
        index concurrently if exists`, then `create index concurrently`. `if not exists` alone would
        accept an invalid index, so this refuses invalid indexes.
        """
        started = time.monotonic()
        self._record(migration, "running", started)
        migration.process_steps(self, "apply")
        invalid = self._value(_INVALID_INDEX, SCHEMA)
        if invalid is not None:
            raise MigrationError(
                f"{migration.id} left the index {invalid} invalid; drop it first, then create it"
            )
        self._record(migration, "applied", started)

    def _record(self, migration: Migration, state: str, started: float) -> None:
        file = self._files[migration.id]
        self.connection.execute(
            'insert into migrations (name, "timestamp", instance, kind, phase, checksum, state, '
            "duration_ms, applied_text, rollback_text) "
            "values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s) "
            "on conflict on constraint migrations_name_unique do update "
            # Update all: a file that failed without a transaction may have been edited since.
            "set instance = excluded.instance, kind = excluded.kind, phase = excluded.phase, "
            "checksum = excluded.checksum, state = excluded.state, "
            "duration_ms = excluded.duration_ms, applied_at = clock_timestamp(), "
            "applied_text = excluded.applied_text, rollback_text = excluded.rollback_text",
            [
                *(file.name, file.timestamp, self._instance, file.kind, file.phase),
                *(file.checksum, state, round((time.monotonic() - started) * 1000)),
                *(file.up, file.down),
            ],
        )

    def _delete_record(self, migration: Migration, remark: str) -> None:
        self.connection.execute("delete from migrations where name = %s", [migration.id])
        # The ledger has no row of it any more, so the access log records it.
        self.log_access("system:migrator", migration.id, f"rolled back by {self._instance}{remark}")

    def log_access(self, actor: str, resource: str, detail: str) -> None:
        """Add a row to the access log in the same transaction, if the table exists."""
        if self._value("select to_regclass(%s) is not null", f"{SCHEMA}.access_log"):
            self.connection.execute(
                f"insert into {SCHEMA}.access_log (event, decision, actor, resource, detail) "  # noqa: S608
                "values ('schema_change', 'allowed', left(%s, 255), left(%s, 255), left(%s, 255))",
                [actor, resource, detail],
            )

    def _value(self, statement: str, *parameters: object) -> Any:
        row = self.connection.execute(statement, parameters).fetchone()
        return row[0] if row else None
