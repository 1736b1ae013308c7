"""The access log: authentication, refusals, secret reads, administration. Append-only.

`record` writes in the transaction of the access and fails with it: no secret is read, and nothing
is administered, without a row. `enqueue` never waits: refusals are batched in memory, and a task
writes.
"""

import time
from collections.abc import Hashable, Iterable, Mapping, Sequence
from datetime import UTC, datetime

import asyncpg
import msgspec
from prometheus_client import Metric

from app.access.events import Access
from app.access.refusal_batch import RefusalBatch
from app.access.stdout_log import StdoutLog
from app.components import Component, HealthCheck, ReportScope, Status, counter, counters
from app.database import Connection, Database, after_commit, sql
from app.database.client.faults import AWAY, BUSY, DatabaseBugError
from app.database.client.pool import RETRIED
from app.errors import Unavailable
from app.log import logger
from app.tasks import repeat

log = logger(__name__)

# Equal refusals within this time become one row. A killed process loses as much.
FLUSH_SECONDS = 10.0
# A process adds at most 50 rows per 10 s, and one for each kind of event.
GROUPS_MAX = 50
UNWRITTEN_GROUPS_MAX = 1_000
# Health warns for this long after a loss, so that a check each minute finds it.
WARN_SECONDS = 300.0

_encoder = msgspec.json.Encoder()


class AccessLog(Component):
    """The access log of one process. `stdout_log` gets a copy of each row.

    A relay has no database, so the log of a relay is written to standard output only.
    """

    name = "access_log"

    def __init__(self, database: Database | None, stdout_log: StdoutLog | None = None) -> None:
        self._database = database
        self._stdout_log = stdout_log
        self._queued = RefusalBatch(GROUPS_MAX)
        # Not yet in the table, but already on standard output.
        self._unwritten = RefusalBatch(UNWRITTEN_GROUPS_MAX)
        self.recorded = 0
        self.enqueued = 0
        self.failures = 0
        # Whether the last write failed.
        self._is_failing = False
        self._lost = 0
        self._lost_at: float | None = None

    async def record(self, connection: Connection, access: Access) -> None:
        """Write an access in the caller's transaction.

        Its line on standard output follows the commit.

        Send a secret only after the commit. Raises Unavailable when the row cannot be written: the
        caller must roll back.
        """
        if not connection.is_in_transaction():
            raise RuntimeError("an access must be recorded in the transaction of its change")
        try:
            await sql.insert_accesses(connection, accesses=[access])
        except RETRIED:
            raise
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
            self._failed(type(error).__name__, may_pass=isinstance(error, AWAY + BUSY))
            raise Unavailable(
                "access_log_unwritable",
                "The access log cannot be written, so this was not done. Try again later.",
            ) from None
        after_commit(lambda: self._committed(access))

    def enqueue(self, access: Access, alike: Hashable = None) -> None:
        """Add an access to the next batch. Never waits, and never raises.

        `alike` has all that its group depends on, for `enqueue_again`.
        """
        self.enqueued += 1
        now = datetime.now(UTC)
        self._queued.add(msgspec.structs.replace(access, at=now, last_at=now), alike)

    def enqueue_again(self, alike: Hashable) -> bool:
        """Count an access like one of the next batch. Return False if there is none.

        It creates no access, so that a flood of refusals takes less time.
        """
        is_known = self._queued.add_again(alike, datetime.now(UTC))
        self.enqueued += is_known
        return is_known

    @property
    def blurred(self) -> int:
        """How many accesses were counted without details, because too many differed."""
        return self._queued.blurred + self._unwritten.blurred

    @property
    def problem(self) -> str | None:
        """Why health warns: the last write failed, or details were lost in the last 5 minutes."""
        if self._is_failing:
            return "cannot be written"
        if self._lost_at is not None and time.monotonic() - self._lost_at < WARN_SECONDS:
            return "details of accesses were lost"
        return None

    @property
    def dropped_lines(self) -> int:
        return self._stdout_log.dropped if self._stdout_log is not None else 0

    async def run(self) -> None:
        await repeat(lambda: FLUSH_SECONDS, self.run_once, at_end=True)

    async def run_once(self) -> None:
        """Write the batch. Never raises for the database: the rows stay queued for the next run.

        Rows can be written twice when the answer to a commit is lost. That is better than losing
        them.
        """
        batch = self._queued.take()
        self._write_lines(batch)
        self._unwritten.add_all(batch)
        self._report_losses()
        unwritten = self._unwritten.take()
        database = self._database
        if not unwritten or database is None:
            return
        try:
            await database.transact(lambda c: sql.insert_accesses(c, accesses=unwritten))
            unwritten = []
            self._is_failing = False
        except Unavailable as error:
            self._failed(error.code, may_pass=True)
        except DatabaseBugError as error:
            self._failed(str(error), may_pass=False)
        finally:
            # Also on cancellation: the last run, at the end of the process, tries once more.
            self._unwritten.add_all(unwritten)

    async def close(self) -> None:
        """Write the queued lines to standard output."""
        if self._stdout_log is not None:
            await self._stdout_log.close()

    def checks(self, _: ReportScope) -> Mapping[str, HealthCheck]:
        """Only warn, since evaluation works without a log."""
        problem = self.problem
        return {
            "access_log:write": HealthCheck(
                status=Status.WARN if problem else Status.PASS,
                component_type="datastore",
                output=problem,
            )
        }

    def metrics(self) -> Iterable[Metric]:
        yield counters(
            "flagstone_access_log_accesses",
            "Accesses written in their own transaction, or queued for a batch.",
            "way",
            {"recorded": self.recorded, "noted": self.enqueued},
        )
        yield counter(
            "flagstone_access_log_blurred",
            "Accesses counted without details, because too many differed.",
            self.blurred,
        )
        yield counter(
            "flagstone_access_log_write_failures",
            "Failed writes to the access log's table.",
            self.failures,
        )
        yield counter(
            "flagstone_access_log_lines_dropped",
            "Lines for standard output that were dropped, because the reader was too slow.",
            self.dropped_lines,
        )

    def _report_losses(self) -> None:
        if self._database is None and self._stdout_log is None:
            return
        lost = self.blurred + self.dropped_lines
        if lost > self._lost:
            log.warning("access_log_lossy", blurred=self.blurred, lines=self.dropped_lines)
            self._lost, self._lost_at = lost, time.monotonic()

    def _committed(self, access: Access) -> None:
        self.recorded += 1
        self._is_failing = False
        now = datetime.now(UTC)
        self._write_lines([msgspec.structs.replace(access, at=now, last_at=now)])

    def _failed(self, reason: str, *, may_pass: bool) -> None:
        self.failures += 1
        self._is_failing = True
        # The rows are retained while the database is away.
        report = log.warning if may_pass else log.error
        report("access_log_unwritable", error=reason)

    def _write_lines(self, accesses: Sequence[Access]) -> None:
        if self._stdout_log is not None:
            for access in accesses:
                self._stdout_log.put(_encoder.encode(access) + b"\n")
