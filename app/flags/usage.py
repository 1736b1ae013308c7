"""How often flags are evaluated: counted in memory, added to the table about once a minute.

A minute's counts are lost when a process is killed, and none is counted twice: what was given to a
statement that may have been committed is not given to another. While the database is away they
wait, by their texts and not by outcomes, which would keep every flag that there ever was.
"""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime

import msgspec
from prometheus_client import Metric

from app.components import Component, counters
from app.database import Connection, Database, sql
from app.environments import service as environments
from app.errors import Unavailable
from app.evaluation.groups import BodyBlock
from app.evaluation.validation import VARIANT_NAME_MAX
from app.log import logger
from app.names import counted
from app.tasks import repeat

log = logger(__name__)

FLUSH_SECONDS = 60.0
# Rows that may wait, some 20 MB. Flags that change their names all day long could fill the memory.
WAITING_MAX = 50_000
# What parts may take that are kept only to be counted. Each request may bring one that its group
# has let go of already.
PARTS_BYTES_MAX = 16 * 1024 * 1024
# Younger than this, silence means nothing; and so do fewer evaluations than that.
STALE_DAYS = 30
CERTAIN_COUNT = 100


class _Counted(msgspec.Struct, frozen=True, rename="camel"):
    """What counts of an outcome's body."""

    key: str
    reason: str = ""
    variant: str = ""
    error_code: str = ""


_decode = msgspec.json.Decoder(_Counted).decode


class OutcomeUse(msgspec.Struct, frozen=True, kw_only=True):
    """How often a flag had this outcome. `reason` is OFREP's, or the error code of a failure;
    `variant` has at most 255 characters of the name.
    """

    reason: str
    variant: str | None
    count: int
    last_evaluated_at: datetime


class FlagUse(msgspec.Struct, frozen=True, kw_only=True):
    """`remarks` say what makes a flag look as if it were no longer needed."""

    key: str
    created_at: datetime
    last_evaluated_at: datetime | None
    count: int
    outcomes: list[OutcomeUse]
    remarks: list[str]


class FlagUsage(msgspec.Struct, frozen=True, kw_only=True):
    items: list[FlagUse]


# What a row of the table counts: environment, key, reason and variant.
Place = tuple[str, str, str, str]


class Usage(Component):
    """The evaluations of one process: all of them by environment and reason, and each outcome that
    the table does not have yet.
    """

    name = "usage"

    def __init__(self, database: Database) -> None:
        self._database = database
        # By the body of the outcome, which says it all, and is read once a minute.
        self._counts: defaultdict[str, Counter[bytes]] = defaultdict(Counter)
        self._parts: defaultdict[str, Counter[BodyBlock]] = defaultdict(Counter)
        self._parts_bytes = 0
        self._waiting: Counter[Place] = Counter()
        self._totals: Counter[tuple[str, str]] = Counter()

    def count(self, environment: str, body: bytes) -> None:
        """Count the evaluation of one flag."""
        self._counts[environment][body] += 1

    def count_all(self, environment: str, bodies: Iterable[bytes]) -> None:
        """Count an evaluation for each of the bodies."""
        self._counts[environment].update(bodies)

    def count_part(self, environment: str, part: BodyBlock) -> None:
        """Count an evaluation for each body of the part."""
        counts = self._parts[environment]
        if part not in counts:
            self._parts_bytes += len(part.joined)
            if self._parts_bytes > PARTS_BYTES_MAX:
                self._parts_bytes -= len(part.joined)
                self.count_all(environment, part.bodies)
                return
        counts[part] += 1

    async def run(self) -> None:
        """Add to the table for ever, and once more at the end."""
        try:
            await repeat(lambda: FLUSH_SECONDS, self.run_once)
        finally:
            await self.run_once()

    def totals(self) -> Mapping[tuple[str, str], int]:
        """Return how many evaluations there were, by environment and reason or error code."""
        self._take()
        return self._totals

    def metrics(self) -> Iterable[Metric]:
        yield counters(
            "flagstone_evaluations",
            "Evaluations of existing flags, by OFREP reason or error code.",
            "environment reason",
            self.totals(),
        )

    async def run_once(self) -> None:
        """Add what was counted. Never raises: what was surely not added waits for the next time."""
        self._take()
        if not self._waiting:
            return
        adding, self._waiting = self._waiting, Counter()
        has_begun = False

        async def add(connection: Connection) -> None:
            nonlocal has_begun
            has_begun = True
            await _add(connection, adding)

        try:
            await self._database.transact(add)
        except Unavailable as error:
            log.debug("usage_not_added", code=error.code)
            if not has_begun or error.code in {"pool_exhausted", "database_busy"}:
                self._wait(adding)
        except asyncio.CancelledError:
            # The process ends: what had no connection yet is added with the last.
            if not has_begun:
                self._wait(adding)
            raise
        except Exception as error:  # noqa: BLE001 - one failure must not end the counting
            # Not added again, or what cannot be added would keep all else out for ever.
            log.warning("usage_not_added", error=type(error).__name__)

    def _take(self) -> None:
        """Let go of the outcomes that were counted, and keep what the table and metrics want."""
        counted, self._counts = self._counts, defaultdict(Counter)
        parts, self._parts = self._parts, defaultdict(Counter)
        self._parts_bytes = 0
        for environment, of_parts in parts.items():
            for part, count in of_parts.items():
                for body in part.bodies:
                    counted[environment][body] += count
        taken: Counter[Place] = Counter()
        for environment, counts in counted.items():
            for body, count in counts.items():
                outcome = _decode(body)
                reason = outcome.error_code or outcome.reason
                # A lenient import lets longer names pass than the table's key can hold.
                variant = outcome.variant[:VARIANT_NAME_MAX]
                taken[environment, outcome.key, reason, variant] += count
                self._totals[environment, reason] += count
        self._wait(taken)

    def _wait(self, counts: Counter[Place]) -> None:
        lost = 0
        for place, count in counts.items():
            if place in self._waiting or len(self._waiting) < WAITING_MAX:
                self._waiting[place] += count
            else:
                lost += count
        if lost:
            log.warning("usage_lost", evaluations=lost)


async def _add(connection: Connection, counts: Counter[Place]) -> None:
    names, keys, reasons, variants = zip(*counts, strict=True)
    await sql.add_flag_usage(
        connection,
        environments=list(names),
        keys=list(keys),
        reasons=list(reasons),
        variants=list(variants),
        counts=list(counts.values()),
    )


async def read_usage(connection: Connection, environment: str, now: datetime) -> list[FlagUse]:
    """Return every flag of an environment with its use. Raises NotFound."""
    await environments.get(connection, environment)
    outcomes: dict[str, list[OutcomeUse]] = {}
    created: dict[str, datetime] = {}
    async for row in sql.list_flag_usage(connection, environment=environment):
        created[row["key"]] = row["created_at"]
        found = outcomes.setdefault(row["key"], [])
        if row["count"] is not None:
            found.append(
                OutcomeUse(
                    reason=row["reason"],
                    variant=row["variant"] or None,
                    count=row["count"],
                    last_evaluated_at=row["last_evaluated_at"],
                )
            )
    return [_use(key, created[key], found, now) for key, found in outcomes.items()]


def _use(key: str, created_at: datetime, found: list[OutcomeUse], now: datetime) -> FlagUse:
    last = max((each.last_evaluated_at for each in found), default=None)
    return FlagUse(
        key=key,
        created_at=created_at,
        last_evaluated_at=last,
        count=sum(each.count for each in found),
        outcomes=found,
        remarks=_remarks(found, last or created_at, now),
    )


def _remarks(found: list[OutcomeUse], last: datetime, now: datetime) -> list[str]:
    days = (now - last).days
    if not found:
        return ["is never evaluated"] if days >= STALE_DAYS else []
    remarks = []
    if days >= STALE_DAYS:
        remarks.append(f"was last evaluated {counted(days, 'day')} ago")
    variants = {each.variant for each in found if each.variant is not None}
    reasons = {each.reason for each in found}
    if len(variants) == 1 and sum(each.count for each in found) >= CERTAIN_COUNT:
        remarks.append(f"always gives {next(iter(variants))}")
        if reasons == {"TARGETING_MATCH"}:
            remarks.append("only its rule is ever reached, never its default")
    return remarks
