"""Whether the database's schema is the one that this code was written for."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

import asyncpg

from app.components import Component, HealthCheck, ReportScope, Status
from app.database import Database, sql
from app.database.migrations import read_files
from app.errors import Unavailable
from app.tasks import repeat

CHECK_SECONDS = 60


@dataclass(frozen=True, kw_only=True)
class SchemaState:
    """`pending`: the code expects more than there is. `unknown`: the database is newer."""

    expected: str
    applied: str | None
    pending: int
    unknown: int


class SchemaCheck(Component):
    """Compares the ledger with the files, once a minute. The files are read once."""

    name = "schema"

    def __init__(self, database: Database) -> None:
        self._database = database
        self._files = [file.name for file in read_files()]
        self.state: SchemaState | None = None

    async def start(self) -> None:
        """Raise Unavailable until somebody else has migrated the schema."""
        await self.look()
        if self.state is not None and self.state.pending:
            raise Unavailable(
                "migrations_pending",
                "The schema is older than this release; run `make migrate`.",
            )

    async def run(self) -> None:
        await repeat(lambda: CHECK_SECONDS, self.run_once)

    async def run_once(self) -> None:
        """Look once; while the database is away, what was seen last stays."""
        with suppress(Unavailable):
            await self.look()

    async def look(self) -> None:
        """Look once. Raises Unavailable when the database is away."""
        applied: list[str] = []
        async with self._database.connection() as connection:
            # No ledger yet means that nothing is applied yet.
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
                status=scope.outage, component_type="datastore", output="not known yet"
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
