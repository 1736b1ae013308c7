"""Counts of evaluations at relays: sent upstream in batches, and counted once.

A batch has an Idempotency-Key, and is sent again under it until it is answered. A relay in between
passes it on with its key, so only the database decides whether it was counted.
"""

import re
import secrets
from collections import Counter
from collections.abc import Iterable

import msgspec
from aiohttp import web
from prometheus_client import Metric

from app.access.credentials import Credentials
from app.access.guard import CALLER, TOKENS
from app.access.models import Scope
from app.components import counter, gauge
from app.database import Connection, sql
from app.errors import ConditionMissing, Forbidden, Unavailable, Violation
from app.flags.usage import RowKey, UsageCounts, add_counts
from app.http import wire
from app.http.writes import run_write
from app.log import logger
from app.relay import protocol
from app.relay.client import UNFIT, UpstreamClient
from app.relay.protocol import UsageBatch, UsageRow, UsageTaken
from app.tasks import repeat

log = logger(__name__)

FLUSH_SECONDS = 15.0
_KEY = re.compile(r"[0-9a-f]{32}")


class RelayUsage(UsageCounts):
    """The evaluations of a relay. A killed relay loses those of the last 15 seconds."""

    def __init__(self, client: UpstreamClient, credentials: Credentials) -> None:
        super().__init__()
        self._client = client
        self._credentials = credentials
        # A batch that was sent and not answered, with its key.
        self._pending: tuple[str, bytes] | None = None
        self.batches = 0

    async def run(self) -> None:
        await repeat(lambda: FLUSH_SECONDS, self.run_once, at_end=True)

    async def run_once(self) -> None:
        """Send all batches, until one is not answered. Never raises."""
        self._take()
        while (batch := self._pending or self._next_batch()) is not None:
            self._pending = batch
            key, body = batch
            try:
                await self._client.send_usage(body, key)
            except Unavailable as error:
                if error.code != UNFIT:
                    log.debug("usage_not_sent", reason=error.message)
                    return
                # The upstream will never take this batch, and it would block the others.
                log.warning("usage_refused", reason=error.message)
            else:
                self.batches += 1
            self._pending = None

    def metrics(self) -> Iterable[Metric]:
        yield from super().metrics()
        yield counter("flagstone_relay_usage_batches", "Batches of counts sent.", self.batches)
        waiting = len(self._waiting)
        yield gauge("flagstone_relay_usage_waiting", "Rows of counts that wait.", waiting)

    def _next_batch(self) -> tuple[str, bytes] | None:
        used, self._credentials.used = self._credentials.used, set()
        rows = [
            UsageRow(environment=name, key=key, reason=reason, variant=variant, count=count)
            for (name, key, reason, variant), count in self._pop(protocol.BATCH_ROWS_MAX)
        ]
        if not rows and not used:
            return None
        tokens = sorted(used)
        self._credentials.used |= set(tokens[protocol.BATCH_TOKENS_MAX :])
        batch = UsageBatch(counts=rows, tokens=tokens[: protocol.BATCH_TOKENS_MAX])
        return secrets.token_hex(16), msgspec.json.encode(batch)

    def _pop(self, rows_max: int) -> list[tuple[RowKey, int]]:
        keys = list(self._waiting)[:rows_max]
        return [(key, self._waiting.pop(key)) for key in keys]


async def post_usage(request: web.Request) -> web.Response:
    """Add counts of evaluations at a relay. Needs an Idempotency-Key."""
    batch = await _read_batch(request)
    counts: Counter[RowKey] = Counter()
    for row in batch.counts:
        counts[row.environment, row.key, row.reason, row.variant] += row.count

    async def add(connection: Connection) -> UsageTaken:
        if counts:
            await add_counts(connection, counts)
        if batch.tokens:
            await sql.mark_tokens_used(connection, ids=sorted(batch.tokens))
        return UsageTaken(rows=len(counts))

    taken = await run_write(request, add, actor=request[CALLER].actor, answer_type=UsageTaken)
    return wire.answer(taken)


CLIENT: web.AppKey[UpstreamClient] = web.AppKey("upstream_client", UpstreamClient)


async def forward_usage(request: web.Request) -> web.Response:
    """Pass a batch on, with its key."""
    batch = await _read_batch(request)
    key = request.headers["Idempotency-Key"]
    await request.app[CLIENT].send_usage(msgspec.json.encode(batch), key)
    return wire.answer(UsageTaken(rows=len(batch.counts)))


async def _read_batch(request: web.Request) -> UsageBatch:
    """Return the batch of a request, without tokens that reach no environment of the caller.

    Raises Forbidden for a count of another environment.
    """
    wire.read_query(request, set())
    if not _KEY.fullmatch(request.headers.get("Idempotency-Key", "")):
        rule = "must be 32 hexadecimal digits"
        raise ConditionMissing.of("condition_missing", [Violation("Idempotency-Key", rule)])
    batch = await wire.read_body(request, UsageBatch)
    rights = request[CALLER].rights
    if not all(rights.covers_all(Scope.RELAY, row.environment) for row in batch.counts):
        raise Forbidden("environment_foreign", "The token is not for these environments.")
    usable, names = request.app[TOKENS].usable, rights.environments(Scope.RELAY, all_keys=True)
    tokens = [id_ for id_ in batch.tokens if id_ in usable and usable[id_].reach.overlaps(names)]
    return msgspec.structs.replace(batch, tokens=tokens)
