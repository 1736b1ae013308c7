"""The access log: authentication, refusals, secret reads, administration. Append-only.

Two ways in. `record` is for what must not happen untold: it writes within the transaction of what
it tells, and fails with it. `note` is for what must never wait for a log: it gathers in memory, and
a task writes.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime

import asyncpg
import msgspec
from prometheus_client import Metric

from app.access.events import Access
from app.access.refusal_batch import RefusalBatch
from app.access.stdout_log import StdoutLog
from app.components import Component, HealthCheck, ReportScope, Status, counter, counters
from app.database import Connection, Database, after_commit, sql
from app.database.client.faults import DatabaseBugError
from app.database.client.pool import RETRIED
from app.errors import Unavailable
from app.log import logger
from app.tasks import repeat

log = logger(__name__)

# How long equal ones are gathered for, and so what a killed process may leave untold.
WINDOW_SECONDS = 10.0
# The rows that one process adds in a day are bounded by this: at most 5 a second, and one for each
# kind of event on top.
GROUPS_MAX = 50
UNWRITTEN_GROUPS_MAX = 1_000
# How long health warns after particulars were lost: long enough for whoever looks each minute.
_REMEMBERED_SECONDS = 300.0

_encoder = msgspec.json.Encoder()


class AccessLog(Component):
    """The access log as one process writes it; `lines` are a copy of it for standard output."""

    name = "access_log"

    def __init__(self, database: Database, lines: StdoutLog | None = None) -> None:
        self._database = database
        self._lines = lines
        self._noted = RefusalBatch(GROUPS_MAX)
        # What the table would not take yet; the lines of it are out.
        self._unwritten = RefusalBatch(UNWRITTEN_GROUPS_MAX)
        self.recorded = 0
        self.enqueued = 0
        self.failures = 0
        # Whether the last write failed.
        self._is_failing = False
        self._lost = 0
        self._lost_at: float | None = None

    async def record(self, connection: Connection, access: Access) -> None:
        """Write an access in the caller's transaction; its line follows the commit.

        Whatever it tells may only have effect, and a secret only be sent, once that is committed.
        Raises Unavailable when it cannot be written: the transaction is to be given up.
        """
        if not connection.is_in_transaction():
            raise RuntimeError("what is recorded must be one transaction with its record")
        try:
            await _insert(connection, [access])
        except RETRIED:
            raise
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
            self._failed(type(error).__name__)
            raise Unavailable(
                "access_log_unwritable",
                "This is only done once the access log tells of it, and that cannot be written.",
            ) from None
        after_commit(lambda: self._committed(access))

    def enqueue(self, access: Access) -> None:
        """Keep an access for the next batch. Never waits, and never raises."""
        self.enqueued += 1
        now = datetime.now(UTC)
        self._noted.add(msgspec.structs.replace(access, at=now, last_at=now))

    @property
    def blurred(self) -> int:
        """How many were counted without their particulars, since too many differed."""
        return self._noted.blurred + self._unwritten.blurred

    @property
    def trouble(self) -> str | None:
        """Return what is wrong, for health; None while nothing is, and nothing was of late."""
        if self._is_failing:
            return "cannot be written"
        if self._lost_at is not None and time.monotonic() - self._lost_at < _REMEMBERED_SECONDS:
            return "particulars were lost"
        return None

    @property
    def dropped_lines(self) -> int:
        return self._lines.dropped if self._lines is not None else 0

    async def run(self) -> None:
        """Write what was noted for ever, and once more at the end."""
        try:
            await repeat(lambda: WINDOW_SECONDS, self.run_once)
        finally:
            await self.run_once()

    async def run_once(self) -> None:
        """Write what was noted. Never raises for the database: the rows are kept for later.

        When the answer to a commit was lost they may be told twice, which is better than never.
        """
        noted = self._noted.take()
        self._put_lines(noted)
        self._unwritten.add_all(noted)
        self._look_for_losses()
        unwritten = self._unwritten.take()
        if not unwritten:
            return
        try:
            await self._database.transact(lambda c: _insert(c, unwritten))
            unwritten = []
            self._is_failing = False
        except (Unavailable, DatabaseBugError) as error:
            self._failed(error.code if isinstance(error, Unavailable) else str(error))
        finally:
            # Also when it is interrupted by the end of the process, which tries once more.
            self._unwritten.add_all(unwritten)

    async def close(self) -> None:
        """Write the lines that wait."""
        if self._lines is not None:
            await self._lines.close()

    def checks(self, _: ReportScope) -> Mapping[str, HealthCheck]:
        """Only warn: evaluation goes on without a log."""
        trouble = self.trouble
        return {
            "access_log:write": HealthCheck(
                status=Status.WARN if trouble else Status.PASS,
                component_type="datastore",
                output=trouble,
            )
        }

    def metrics(self) -> Iterable[Metric]:
        yield counters(
            "flagstone_access_log_accesses",
            "Accesses for the access log: recorded with what they tell, or noted for later.",
            "way",
            {"recorded": self.recorded, "noted": self.enqueued},
        )
        yield counter(
            "flagstone_access_log_blurred",
            "Accesses that were counted without their particulars, since too many differed.",
            self.blurred,
        )
        yield counter(
            "flagstone_access_log_write_failures",
            "Writes that the access log's table did not take.",
            self.failures,
        )
        yield counter(
            "flagstone_access_log_lines_dropped",
            "Lines for standard output that nobody read in time.",
            self.dropped_lines,
        )

    def _look_for_losses(self) -> None:
        lost = self.blurred + self.dropped_lines
        if lost > self._lost:
            log.warning("access_log_lossy", blurred=self.blurred, lines=self.dropped_lines)
            self._lost, self._lost_at = lost, time.monotonic()

    def _committed(self, access: Access) -> None:
        self.recorded += 1
        self._is_failing = False
        now = datetime.now(UTC)
        self._put_lines([msgspec.structs.replace(access, at=now, last_at=now)])

    def _failed(self, why: str) -> None:
        self.failures += 1
        self._is_failing = True
        log.error("access_log_unwritable", error=why)

    def _put_lines(self, accesses: Sequence[Access]) -> None:
        if self._lines is not None:
            for access in accesses:
                self._lines.put(_encoder.encode(access) + b"\n")


async def _insert(connection: Connection, accesses: Sequence[Access]) -> None:
    columns = zip(*map(msgspec.structs.astuple, accesses), strict=True)
    named = zip(Access.__struct_fields__, columns, strict=True)
    await sql.insert_accesses(connection, **{f"{name}s": list(column) for name, column in named})
