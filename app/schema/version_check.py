"""Compare the applied migrations with those of this release."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

import asyncpg

from app.components import Component, HealthCheck, ReportScope, Status
from app.database import Database, sql
from app.database.migrations import read_files
from app.errors import Unavailable
from app.program import PROGRAM
from app.tasks import jittered, wait_at_most

CHECK_SECONDS = 60
PAUSE_SECONDS = 1.0


@dataclass(frozen=True, kw_only=True)
class SchemaState:
    """Counts of migrations: `pending` are not applied yet, `unknown` are of a newer release."""

    expected: str
    applied: str | None
    pending: int
    unknown: int


class SchemaCheck(Component):
    """Compares the ledger with the migration files. The files are read once."""

    name = "schema"

    def __init__(self, database: Database) -> None:
        self._database = database
        self._files = [file.name for file in read_files()]
        self.state: SchemaState | None = None

    async def start(self) -> None:
        """Raise Unavailable while migrations are pending."""
        await self.look()
        if self.state is not None and self.state.pending:
            raise Unavailable(
                "migrations_pending",
                f"The schema is older than this release. Run `{PROGRAM} database migrate`.",
            )

    async def run(self) -> None:
        """Check once a minute, at once after `schema_unfit`, and each second while it is older."""
        while True:
            self._database.unfit.clear()
            await self.run_once()
            # A request each millisecond that does not fit must not cause as many checks.
            await asyncio.sleep(PAUSE_SECONDS)
            if self.state is not None and self.state.pending:
                continue
            await wait_at_most(jittered(CHECK_SECONDS), self._database.unfit)

    async def run_once(self) -> None:
        """Check once. Keep the latest state while the database is away."""
        with suppress(Unavailable):
            await self.look()

    async def look(self) -> None:
        """Check once. Raises Unavailable if the database is away."""
        applied: list[str] = []
        async with self._database.connection() as connection:
            # Without a ledger no migration has been applied.
            with suppress(asyncpg.UndefinedTableError):
                applied = [row["name"] async for row in sql.list_applied_migrations(connection)]
        self.state = SchemaState(
            expected=self._files[-1],
            applied=applied[-1] if applied else None,
            pending=len(set(self._files) - set(applied)),
            unknown=len(set(applied) - set(self._files)),
        )

    def checks(self, scope: ReportScope) -> Mapping[str, HealthCheck]:
        state = self.state
        if state is None:
            check = HealthCheck(
                status=scope.outage, component_type="datastore", output="not checked yet"
            )
            return {"migrations:pending": check}
        newer = Status.WARN if state.unknown else Status.PASS
        check = HealthCheck(
            status=Status.FAIL if state.pending else newer,
            component_type="datastore",
            observed_value=state.pending,
            observed_unit="migrations",
            expected=state.expected,
            applied=state.applied,
        )
        return {"migrations:pending": check}
