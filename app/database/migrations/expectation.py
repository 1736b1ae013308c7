"""The expected schema. Only a run of the migrator, or `database accept`, stores a new one.

A run stores the schema that it leaves, and the drift that existed when it began. So a manual
change stays on record after the next migration. A run without pending migrations stores only the
rights that it granted: otherwise every start would accept manual changes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.rows import class_row

from app.database.catalog.ddl_triggers import read_recording
from app.database.catalog.fingerprint import (
    PRINT_SETTINGS,
    WORDING,
    differences,
    fingerprint,
    redact,
    wording_number,
)
from app.database.catalog.recording import RecordingStatus
from app.database.client.blocking import run
from app.database.client.drivers import SCHEMA
from app.database.client.statements import sql
from app.database.roles.privileges import grant_privileges
from app.log import logger

log = logger(__name__)

_SHOWN_MAX = 5
_TABLE = f"{SCHEMA}.schema_fingerprints"
# Names have their schema: a migration may have changed the search path of the session.
_LATEST = f"select id, migration, facts, recording from {_TABLE} order by id desc limit 1"  # noqa: S608
_INSERT = (
    f"insert into {_TABLE} (action, migration, instance, server_version, "  # noqa: S608
    "fingerprint, facts, drifted, recording, message) values (%s, %s, %s, %s, %s, %s, %s, %s, %s)"
)
# Retain the expected facts, even if the schema differs now.
_INSERT_RECORDING = (
    f"insert into {_TABLE} (action, migration, instance, server_version, fingerprint, "  # noqa: S608
    "facts, recording) select 'recording', migration, %s, server_version, fingerprint, facts, true "
    f"from {_TABLE} where id = %s"
)
_LAST_APPLIED = (
    f'select name from {SCHEMA}.migrations where state = %s order by "timestamp" desc limit 1'  # noqa: S608
)


@dataclass(frozen=True, kw_only=True)
class _StoredSchema:
    id: int
    migration: str
    facts: list[str]
    recording: bool


class ExpectedSchema:
    """The expected schema during one run of the migrator."""

    def __init__(self, connection: psycopg.Connection[Any], instance: str) -> None:
        self._connection = connection
        self._instance = instance
        self._stored = self._find()
        self._drift: list[str] = []

    def begin(self, *, work: bool) -> None:
        """Find the drift before the run. `work` is whether migrations are pending."""
        if work or self._is_behind:
            self._drift = self._differences(read_facts(self._connection))
            if self._drift:
                # This run stores a new expected schema. Afterwards this is no drift.
                first = [redact(fact) for fact in self._drift[:_SHOWN_MAX]]
                log.warning("schema_drifted_before", facts=len(self._drift), first=first)

    def grant(self, *, work: bool) -> None:
        """Grant the roles their rights, which another release may have changed.

        Without other work only these become expected: manual changes stay drift.
        """
        only_rights = not work and not self._is_behind and self._can_compare
        before = {*read_facts(self._connection)} if only_rights else set()
        repaired = grant_privileges(self._connection)
        if repaired and not work:
            log.warning("privileges_repaired", grants=repaired)
        if not repaired or not only_rights or self._stored is None:
            return
        after, stored = {*read_facts(self._connection)}, {*self._stored.facts}
        expected = stored - (before - after) | (after - before)
        if expected != stored:
            self._drift = differences(stored, before)
            self._insert("migrated", [*expected])
            self._stored = self._find()

    def end(self, *, work: bool) -> None:
        """Store the current schema, if the run did work or an earlier run stored nothing."""
        if not self._has_table:
            return
        if work or self._is_behind:
            self._insert("migrated", read_facts(self._connection))
        elif self._stored is not None and not self._stored.recording and self._is_recording:
            self._connection.execute(_INSERT_RECORDING, [self._instance, self._stored.id])

    def accept(self, message: str) -> list[str]:
        """Store the current schema as the expected one, and return the drift."""
        facts = read_facts(self._connection)
        self._drift = self._differences(facts)
        has_ended = self._stored is not None and self._stored.recording and not self._is_recording
        if self._drift or has_ended or not self._can_compare:
            self._insert("accepted", facts, message)
        return self._drift

    @property
    def _has_table(self) -> bool:
        return bool(self._value("select to_regclass(%s) is not null", _TABLE))

    @property
    def _is_behind(self) -> bool:
        """Whether a run was killed before it stored a schema, or an older release stored it."""
        if not self._has_table:
            return False
        stored = self._stored
        return stored is None or stored.migration != self._last_applied or self._is_reworded

    @property
    def _can_compare(self) -> bool:
        return self._stored is not None and WORDING in self._stored.facts

    @property
    def _is_reworded(self) -> bool:
        """Whether an older release stored it. A schema that a newer release stored stays."""
        return self._stored is not None and wording_number(self._stored.facts) < wording_number(
            [WORDING]
        )

    @property
    def _is_recording(self) -> bool:
        return read_recording(self._connection).status is RecordingStatus.RECORDING

    @property
    def _last_applied(self) -> str:
        return str(self._value(_LAST_APPLIED, "applied") or "")

    def _find(self) -> _StoredSchema | None:
        if not self._has_table:
            return None
        cursor = self._connection.cursor(row_factory=class_row(_StoredSchema))
        return cursor.execute(_LATEST.encode()).fetchone()

    def _differences(self, facts: Sequence[str]) -> list[str]:
        if self._stored is not None and self._can_compare:
            return differences(self._stored.facts, facts)
        if self._has_table:
            reason = "none is stored" if self._stored is None else "stored in another wording"
            log.warning("schema_not_compared", reason=reason)
        return []

    def _insert(self, action: str, facts: Sequence[str], message: str | None = None) -> None:
        # A migration does not clear the mark that changes were recorded. An operator may.
        was_recording = action == "migrated" and self._stored is not None and self._stored.recording
        self._connection.execute(
            _INSERT.encode(),
            [
                *(action, self._last_applied, self._instance),
                self._connection.info.server_version // 10_000,
                *(fingerprint(facts), sorted(facts), self._drift),
                *(was_recording or self._is_recording, message),
            ],
        )

    def _value(self, statement: str, *parameters: object) -> Any:
        row = self._connection.execute(statement.encode(), parameters).fetchone()
        return row[0] if row else None


def read_facts(connection: psycopg.Connection[Any]) -> list[str]:
    """Return the facts of the schema, printed with the same settings for every role."""
    with connection.transaction():
        connection.execute(PRINT_SETTINGS)
        return [WORDING, *(row[0] for row in run(connection, sql.list_schema_facts))]
