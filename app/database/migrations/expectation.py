"""What the schema is expected to be: kept by the migrator, whose runs alone may change it.

A run keeps what it leaves behind, and beside it what differed when it began. So a change that was
made by hand stays on record when a migration follows it; and a run that has nothing to do keeps
nothing but rights that it gave itself, or each start would make such a change the expected one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.rows import class_row

from app.database.catalog.ddl_triggers import read_recording
from app.database.catalog.fingerprint import (
    PINNED,
    WORDING,
    differences,
    fingerprint,
    shown,
    wording,
)
from app.database.catalog.recording import RecordingStatus
from app.database.client.drivers import SCHEMA
from app.database.client.statements import run, sql
from app.database.roles.privileges import grant_privileges
from app.log import logger

log = logger(__name__)

_SHOWN_MAX = 5
_TABLE = f"{SCHEMA}.schema_fingerprints"
# Named by their schema throughout: a migration may have left the session with another path.
_LATEST = f"select id, migration, facts, recording from {_TABLE} order by id desc limit 1"  # noqa: S608
_INSERT = (
    f"insert into {_TABLE} (action, migration, instance, server_version, "  # noqa: S608
    "fingerprint, facts, drifted, recording, message) values (%s, %s, %s, %s, %s, %s, %s, %s, %s)"
)
# What was expected stays so, whatever there is now.
_INSERT_RECORDING = (
    f"insert into {_TABLE} (action, migration, instance, server_version, fingerprint, "  # noqa: S608
    "facts, recording) select 'recording', migration, %s, server_version, fingerprint, facts, true "
    f"from {_TABLE} where id = %s"
)
_LAST_APPLIED = (
    f'select name from {SCHEMA}.migrations where state = %s order by "timestamp" desc limit 1'  # noqa: S608
)


@dataclass(frozen=True, kw_only=True)
class _Kept:
    id: int
    migration: str
    facts: list[str]
    recording: bool


class Expectation:
    """What one run of the migrator finds to be expected, and what it leaves to be."""

    def __init__(self, connection: psycopg.Connection[Any], instance: str) -> None:
        self._connection = connection
        self._instance = instance
        self._kept = self._find()
        self._drifted: list[str] = []

    def begin(self, *, work: bool) -> None:
        """Look what differs before the work; `work` tells whether there is any."""
        if work or self._is_behind:
            self._drifted = self._differences(read_facts(self._connection))
            if self._drifted:
                # What comes now makes it the expected schema, and must not hide it.
                log.warning("schema_drifted_before", facts=len(self._drifted), **self._named())

    def grant(self, *, work: bool) -> None:
        """Give the roles their rights, which another release may have changed by itself.

        Where nothing else is done, these alone become expected: what was made by hand stays drift.
        """
        stays = not work and not self._is_behind and self._can_compare
        before = {*read_facts(self._connection)} if stays else set()
        repaired = grant_privileges(self._connection)
        if repaired and not work:
            log.warning("privileges_repaired", grants=repaired)
        if not repaired or not stays or self._kept is None:
            return
        after, kept = {*read_facts(self._connection)}, {*self._kept.facts}
        expected = kept - (before - after) | (after - before)
        if expected != kept:
            self._drifted = differences(kept, before)
            self._insert("migrated", [*expected])
            self._kept = self._find()

    def end(self, *, work: bool) -> None:
        """Keep what there is now, where the run did anything or an earlier one kept nothing."""
        if not self._has_table:
            return
        if work or self._is_behind:
            self._insert("migrated", read_facts(self._connection))
        elif self._kept is not None and not self._kept.recording and self._is_recording:
            self._connection.execute(_INSERT_RECORDING, [self._instance, self._kept.id])

    def accept(self, message: str) -> list[str]:
        """Keep what there is now as the expected schema, and return what differed."""
        facts = read_facts(self._connection)
        self._drifted = self._differences(facts)
        has_ended = self._kept is not None and self._kept.recording and not self._is_recording
        if self._drifted or has_ended or not self._can_compare:
            self._insert("accepted", facts, message)
        return self._drifted

    @property
    def _has_table(self) -> bool:
        return bool(self._value("select to_regclass(%s) is not null", _TABLE))

    @property
    def _is_behind(self) -> bool:
        """Whether a run was killed before it had kept anything, or an older release kept it."""
        if not self._has_table:
            return False
        kept = self._kept
        return kept is None or kept.migration != self._last_applied or self._is_reworded

    @property
    def _can_compare(self) -> bool:
        return self._kept is not None and WORDING in self._kept.facts

    @property
    def _is_reworded(self) -> bool:
        """Whether an older release has kept it; what a newer one has is left to that."""
        return self._kept is not None and wording(self._kept.facts) < wording([WORDING])

    @property
    def _is_recording(self) -> bool:
        return read_recording(self._connection).status is RecordingStatus.RECORDING

    @property
    def _last_applied(self) -> str:
        return str(self._value(_LAST_APPLIED, "applied") or "")

    def _find(self) -> _Kept | None:
        if not self._has_table:
            return None
        cursor = self._connection.cursor(row_factory=class_row(_Kept))
        return cursor.execute(_LATEST.encode()).fetchone()

    def _differences(self, facts: Sequence[str]) -> list[str]:
        if self._kept is not None and self._can_compare:
            return differences(self._kept.facts, facts)
        if self._has_table:
            reason = "nothing is kept" if self._kept is None else "kept in another release's words"
            log.warning("schema_not_compared", reason=reason)
        return []

    def _named(self) -> dict[str, list[str]]:
        return {"first": [shown(each) for each in self._drifted[:_SHOWN_MAX]]}

    def _insert(self, action: str, facts: Sequence[str], message: str | None = None) -> None:
        # A migration must not end the remembrance that there was a record; an operator may.
        had = action == "migrated" and self._kept is not None and self._kept.recording
        self._connection.execute(
            _INSERT.encode(),
            [
                *(action, self._last_applied, self._instance),
                self._connection.info.server_version // 10_000,
                *(fingerprint(facts), sorted(facts), self._drifted),
                *(had or self._is_recording, message),
            ],
        )

    def _value(self, statement: str, *parameters: object) -> Any:
        row = self._connection.execute(statement.encode(), parameters).fetchone()
        return row[0] if row else None


def read_facts(connection: psycopg.Connection[Any]) -> list[str]:
    """Return the facts of the schema, put into words as everybody puts them."""
    with connection.transaction():
        connection.execute(PINNED)
        return [WORDING, *(row[0] for row in run(connection, sql.list_schema_facts))]
