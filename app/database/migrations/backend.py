"""The yoyo backend: yoyo splits and pairs the files; applying and recording is one transaction.

yoyo's own bookkeeping commits the change and its record separately, locks with a row that a crash
leaves behind, and hashes only names. Overridden here are exactly the methods that do so; they are
undocumented, which is why yoyo-migrations is pinned to 9.0.0 and each of them has a test.
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
from app.database.migrations.files import MigrationError, MigrationFile
from app.tasks import Backoff

LOCK_KEY = 0x666C6167  # "flag": one lock for whoever changes this database's schema
LOCK_WAIT_SECONDS = 600
_LOCK_ATTEMPTS = 5
_SESSION = (
    "set lock_timeout = '3s'",
    "set statement_timeout = 0",
    "set idle_in_transaction_session_timeout = '60s'",
    # A killed migrator's statement ends within a second, instead of running on as an orphan.
    "set client_connection_check_interval = '1s'",
)
_INVALID_INDEX = (
    "select pg_class.relname from pg_index join pg_class on pg_class.oid = pg_index.indexrelid "
    "where pg_class.relnamespace = to_regnamespace(%s) and not pg_index.indisvalid limit 1"
)
_HAS_TEXTS = (
    "select exists (select from pg_attribute where attrelid = to_regclass(%s) "
    "and attname = 'applied_text' and not attisdropped)"
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
    applied_text: str | None
    rollback_text: str | None


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
        self.files = files
        super().__init__(dburi=None, migration_table="migrations")

    def connect(self, dburi: object) -> psycopg.Connection[Any]:
        del dburi
        connection = psycopg.connect(**self._arguments, autocommit=True)
        self._begin_session(connection)
        return connection

    def _begin_session(self, connection: psycopg.Connection[Any]) -> None:
        """Give each file the same session, whatever the one before it has set."""
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
        """Make the schema if it is not there. yoyo would make its lock table, and a probe table."""
        if not self._value("select to_regnamespace(%s) is not null", SCHEMA):
            self.connection.execute(f"create schema if not exists {SCHEMA}")

    def ensure_internal_schema_updated(self) -> None:
        """Do nothing: the ledger is made by the first migration."""

    @contextmanager
    def lock(self, timeout: float = LOCK_WAIT_SECONDS) -> Iterator[None]:
        """Hold the advisory lock, which the server frees when the connection dies.

        It is polled for: a session that waits inside pg_advisory_lock holds a snapshot, for which
        another's CREATE INDEX CONCURRENTLY would wait in turn.
        """
        deadline = time.monotonic() + timeout
        while not self._value("select pg_try_advisory_lock(%s)", LOCK_KEY):
            if time.monotonic() > deadline:
                raise MigrationError("another instance has been migrating for too long")
            time.sleep(random.uniform(0.1, 0.4))  # noqa: S311 - spreads the waiting
        try:
            yield
        finally:
            if not self.connection.closed:
                self._value("select pg_advisory_unlock(%s)", LOCK_KEY)

    def records(self) -> list[Record]:
        """Return the ledger in the order of its timestamps; empty before the first migration."""
        if not self._value("select to_regclass('migrations') is not null"):
            return []
        cursor = self.connection.cursor(row_factory=class_row(Record))
        records: list[Record] = cursor.execute(
            'select name, "timestamp", checksum, state, instance, applied_at, duration_ms, '
            # Before the migration that adds these columns they are null.
            "to_jsonb(migrations) ->> 'applied_text' as applied_text, "
            "to_jsonb(migrations) ->> 'rollback_text' as rollback_text "
            'from migrations order by "timestamp"'
        ).fetchall()
        return records

    def get_applied_migration_hashes(self) -> list[str]:
        """Return yoyo's hashes (of the names) of what is applied."""
        return [Migration(r.name, "", "").hash for r in self.records() if r.state == "applied"]

    def apply_one(self, migration: Migration, *, force: bool = False, mark: bool = True) -> None:
        del force, mark
        self._begin_session(self.connection)
        migration.load()
        if migration.use_transactions:
            self._in_transaction_of_its_own(lambda: self._apply(migration))
        else:
            self._apply_without_transaction(migration)

    def rollback_one(self, migration: Migration, *, force: bool = False, remark: str = "") -> None:
        """Roll back one migration; the remark goes into the access log."""
        del force
        self._begin_session(self.connection)
        migration.load()
        if migration.use_transactions:
            self._in_transaction_of_its_own(lambda: self._roll_back(migration, remark))
        else:
            # The record goes last: whoever is killed in between finds it, and rolls back again.
            migration.process_steps(self, "rollback")
            self._forget(migration, remark)

    def _in_transaction_of_its_own(self, work: Callable[[], None]) -> None:
        """Run the work; when a lock is not free in time, let others go first and try again."""
        backoff = Backoff(1.0, 4.0)
        for attempt in range(1, _LOCK_ATTEMPTS + 1):
            try:
                with self.transaction():
                    work()
            except psycopg.errors.LockNotAvailable:
                if attempt == _LOCK_ATTEMPTS:
                    raise
                time.sleep(backoff.next())
            else:
                return

    def _apply(self, migration: Migration) -> None:
        started = time.monotonic()
        migration.process_steps(self, "apply")
        self._record(migration, "applied", started)

    def _roll_back(self, migration: Migration, remark: str) -> None:
        # The record goes first: the first migration's rollback drops the ledger itself.
        self._forget(migration, remark)
        migration.process_steps(self, "rollback")

    def _apply_without_transaction(self, migration: Migration) -> None:
        """Record `running`, run the statements, record `applied`.

        Killed in between, the next start runs them again, so they must be written so that they can
        be: `drop index concurrently if exists`, then `create index concurrently`. With `if not
        exists` alone, an index that was left invalid would be passed over; that is refused here.
        """
        started = time.monotonic()
        self._record(migration, "running", started)
        migration.process_steps(self, "apply")
        invalid = self._value(_INVALID_INDEX, SCHEMA)
        if invalid is not None:
            raise MigrationError(
                f"{migration.id} left the index {invalid} invalid; drop it before it is created"
            )
        self._record(migration, "applied", started)

    def _record(self, migration: Migration, state: str, started: float) -> None:
        file = self.files[migration.id]
        self.connection.execute(
            'insert into migrations (name, "timestamp", instance, kind, phase, checksum, state, '
            "duration_ms) values (%s, %s, %s, %s, %s, %s, %s, %s) "
            "on conflict on constraint migrations_name_unique do update "
            # All of it: a file that failed while it was running may have been mended since.
            "set instance = excluded.instance, kind = excluded.kind, phase = excluded.phase, "
            "checksum = excluded.checksum, state = excluded.state, "
            "duration_ms = excluded.duration_ms, applied_at = clock_timestamp()",
            [
                *(file.name, file.timestamp, self._instance, file.kind, file.phase),
                *(file.checksum, state, round((time.monotonic() - started) * 1000)),
            ],
        )
        self.store_texts(file)

    def store_texts(self, file: MigrationFile) -> None:
        """Store what was applied, once the ledger has columns for it."""
        if self._value(_HAS_TEXTS, f"{SCHEMA}.migrations"):
            self.connection.execute(
                f"update {SCHEMA}.migrations set applied_text = %s, rollback_text = %s "  # noqa: S608
                "where name = %s",
                [file.up, file.down, file.name],
            )

    def _forget(self, migration: Migration, remark: str) -> None:
        self.connection.execute("delete from migrations where name = %s", [migration.id])
        # The ledger has forgotten it, so the access log has to remember.
        self.tell("system:migrator", migration.id, f"rolled back by {self._instance}{remark}")

    def tell(self, actor: str, resource: str, detail: str) -> None:
        """Add a row to the access log, in the transaction of what it tells; none before there is a
        log.
        """
        if self._value("select to_regclass(%s) is not null", f"{SCHEMA}.access_log"):
            self.connection.execute(
                f"insert into {SCHEMA}.access_log (event, decision, actor, resource, detail) "  # noqa: S608
                "values ('schema_change', 'allowed', left(%s, 255), left(%s, 255), left(%s, 255))",
                [actor, resource, detail],
            )

    def _value(self, statement: str, *parameters: object) -> Any:
        row = self.connection.execute(statement, parameters).fetchone()
        return row[0] if row else None
