"""Counts of flag evaluations, in memory and flushed to the table once a minute.

A killed process loses up to a minute of counts. No evaluation is counted twice: counts are not
retried if their statement may have been committed. While the database is down, counts wait by
environment, key, reason and variant. Waiting by outcome would keep old flags in memory.

The table `flag_usage` has the totals, `flag_usage_hours` the evaluations of each hour of a week.
"""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta

import msgspec
from prometheus_client import Metric

from app.components import Component, counters
from app.database import Connection, Database, sql
from app.errors import Unavailable
from app.evaluation.body_block import BodyBlock
from app.evaluation.validation import VARIANT_NAME_MAX
from app.log import logger
from app.tasks import repeat

log = logger(__name__)

FLUSH_SECONDS = 60.0
# The limit of waiting rows, about 20 MB. Keys and variants that keep changing could fill memory.
WAITING_MAX = 50_000
# The limit of body blocks that are in memory only to be counted. Each request may add one that its
# group no longer caches.
BLOCKS_BYTES_MAX = 16 * 1024 * 1024
# Hours that the table of hours has; older ones are deleted once an hour.
HOURS_MAX = 7 * 24


class _Counted(msgspec.Struct, frozen=True, rename="camel"):
    """The counted fields of an outcome's body."""

    key: str
    reason: str = ""
    variant: str = ""
    error_code: str = ""


_decode = msgspec.json.Decoder(_Counted).decode


# The key of a row: environment, flag key, reason and variant.
RowKey = tuple[str, str, str, str]


class UsageCounts(Component):
    """The evaluations of one process: totals by environment and reason, and unflushed counts.

    A subclass flushes them.
    """

    name = "usage"

    def __init__(self) -> None:
        # By the body of the outcome, which is decoded only once a minute.
        self._counts: defaultdict[str, Counter[bytes]] = defaultdict(Counter)
        self._blocks: defaultdict[str, Counter[BodyBlock]] = defaultdict(Counter)
        self._blocks_bytes = 0
        self._waiting: Counter[RowKey] = Counter()
        self._totals: Counter[tuple[str, str]] = Counter()

    def count(self, environment: str, body: bytes) -> None:
        self._counts[environment][body] += 1

    def count_all(self, environment: str, bodies: Iterable[bytes]) -> None:
        self._counts[environment].update(bodies)

    def count_block(self, environment: str, block: BodyBlock) -> None:
        counts = self._blocks[environment]
        if block not in counts:
            self._blocks_bytes += len(block.joined)
            if self._blocks_bytes > BLOCKS_BYTES_MAX:
                self._blocks_bytes -= len(block.joined)
                self.count_all(environment, block.bodies)
                return
        counts[block] += 1

    async def run(self) -> None:
        await repeat(lambda: FLUSH_SECONDS, self.run_once, at_end=True)

    def totals(self) -> Mapping[tuple[str, str], int]:
        """Return the number of evaluations, by environment and reason or error code."""
        self._take()
        return self._totals

    def metrics(self) -> Iterable[Metric]:
        yield counters(
            "flagstone_evaluations",
            "Evaluations of existing flags, by OFREP reason or error code.",
            "environment reason",
            self.totals(),
        )

    def waiting(self, environment: str, key: str) -> int:
        """Return the number of evaluations of a flag that are not in the table yet."""
        start = b'{"key":%b,' % msgspec.json.encode(key)
        bodies = self._counts.get(environment, Counter())
        count = sum(times for body, times in bodies.items() if body.startswith(start))
        blocks = self._blocks.get(environment, Counter())
        # Joined first: a block has the bodies of many flags.
        count += sum(
            times
            for block, times in blocks.items()
            if start in block.joined and any(body.startswith(start) for body in block.bodies)
        )
        rows = self._waiting.items()
        return count + sum(
            times for (name, flag, _, _), times in rows if (name, flag) == (environment, key)
        )

    async def run_once(self) -> None:
        """Flush the counts. Never raises."""
        raise NotImplementedError

    def _take(self) -> None:
        """Move the counts by outcome to the waiting rows and the totals."""
        by_environment, self._counts = self._counts, defaultdict(Counter)
        blocks, self._blocks = self._blocks, defaultdict(Counter)
        self._blocks_bytes = 0
        for environment, counts_of_blocks in blocks.items():
            for block, count in counts_of_blocks.items():
                for body in block.bodies:
                    by_environment[environment][body] += count
        rows: Counter[RowKey] = Counter()
        for environment, counts in by_environment.items():
            for body, count in counts.items():
                outcome = _decode(body)
                reason = outcome.error_code or outcome.reason
                # A lenient import accepts names that are too long for the table's key.
                variant = outcome.variant[:VARIANT_NAME_MAX]
                rows[environment, outcome.key, reason, variant] += count
                self._totals[environment, reason] += count
        self._wait(rows)

    def _wait(self, counts: Counter[RowKey]) -> None:
        lost = 0
        for row_key, count in counts.items():
            if row_key in self._waiting or len(self._waiting) < WAITING_MAX:
                self._waiting[row_key] += count
            else:
                lost += count
        if lost:
            log.warning("usage_lost", evaluations=lost)


class Usage(UsageCounts):
    """The evaluations of a process that adds them to the tables."""

    def __init__(self, database: Database) -> None:
        super().__init__()
        self._database = database
        self._trimmed_at: datetime | None = None

    async def run_once(self) -> None:
        """Flush the counts. Never raises. Counts that were certainly not written wait."""
        self._take()
        if not self._waiting:
            return
        batch, self._waiting = self._waiting, Counter()
        has_started = False

        async def add(connection: Connection) -> None:
            nonlocal has_started
            has_started = True
            await add_counts(connection, batch)
            await self._trim(connection)

        try:
            await self._database.transact(add)
        except Unavailable as error:
            log.debug("usage_not_added", code=error.code)
            if not has_started or error.code in {"pool_exhausted", "database_busy"}:
                self._wait(batch)
        except asyncio.CancelledError:
            # The process stops. A batch without a connection is written by the last flush.
            if not has_started:
                self._wait(batch)
            raise
        except Exception as error:  # noqa: BLE001 - one failure must not end the counting
            # Drop the batch: if it cannot be written, it would block all later ones.
            log.warning("usage_not_added", error=type(error).__name__)

    async def _trim(self, connection: Connection) -> None:
        """Delete old hours, at most once an hour."""
        now = datetime.now(UTC)
        if self._trimmed_at is None or now - self._trimmed_at >= timedelta(hours=1):
            await sql.delete_flag_usage_hours(connection, before=now - timedelta(hours=HOURS_MAX))
            self._trimmed_at = now


async def add_counts(connection: Connection, counts: Counter[RowKey]) -> None:
    """Add counts to the tables. Those of unknown environments are ignored."""
    names, keys, reasons, variants = zip(*counts, strict=True)
    await sql.add_flag_usage(
        connection,
        environments=list(names),
        keys=list(keys),
        reasons=list(reasons),
        variants=list(variants),
        counts=list(counts.values()),
    )
    by_variant: Counter[tuple[str, str, str]] = Counter()
    for (name, key, _, variant), count in counts.items():
        by_variant[name, key, variant] += count
    names, keys, variants = zip(*by_variant, strict=True)
    await sql.add_flag_usage_hours(
        connection,
        environments=list(names),
        keys=list(keys),
        variants=list(variants),
        counts=list(by_variant.values()),
    )
