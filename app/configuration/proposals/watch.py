"""Apply scheduled proposals at their time, and notice new events of proposals.

Every instance sleeps until the next scheduled time, by the clock of the database. A notification
wakes it. The row lock of a proposal lets one instance apply it, and its change sets and its mark
are one transaction. So it is applied once, also after a crash.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from aiohttp import web
from prometheus_client import Metric

from app.access.events import Origin
from app.access.log import AccessLog
from app.access.models import Scope
from app.access.people.rights import rights_of
from app.access.permissions import Rights
from app.components import Component, counters, gauges
from app.configuration.changes.authority import name_of
from app.configuration.changes.content_checks import ContentChecks
from app.configuration.proposals import service, store, trial
from app.configuration.proposals.models import Proposal, keys_in
from app.database import Connection, Database, sql
from app.errors import AppError, Conflict, RetryLater, Unavailable
from app.log import logger
from app.secrets.vault import Vault
from app.settings import Secret
from app.tasks import Backoff, wait_at_most

log = logger(__name__)

# The payload of the notifications in sql/proposals.sql. That of an environment has a colon.
CHANGE_OF_PROPOSALS = "proposals"
# A notification may be lost, and a pooler passes none on.
POLL_SECONDS = 5.0
_DUE_MAX = 100
_PAUSE_SECONDS = 0.2
_PAUSE_SECONDS_MAX = 5.0


class Due(NamedTuple):
    """The scheduled proposals that are due, and the seconds until the next one."""

    ids: list[int]
    next_seconds: float | None


class ProposalWatch(Component):
    """Applies scheduled proposals. `on_event` is called after new events of proposals."""

    name = "proposals"

    def __init__(
        self,
        database: Database,
        vault: Vault,
        checks: ContentChecks,
        access_log: AccessLog,
        *,
        key: Secret,
        on_event: Callable[[], None],
    ) -> None:
        self._database = database
        self._vault = vault
        self._checks = checks
        self._access_log = access_log
        self._key = key
        self._on_event = on_event
        self._hinted = asyncio.Event()
        self.latest_event = 0
        # Proposals by state, and scheduled ones of this process by how they ended.
        self._states: Mapping[str, int] = {}
        self._ended = Counter[str]()

    def hint(self) -> None:
        """Look soon: a proposal has changed."""
        self._hinted.set()

    async def run(self) -> None:
        """Apply what is due, and sleep until the next time or hint."""
        backoff = Backoff(_PAUSE_SECONDS, _PAUSE_SECONDS_MAX)
        while True:
            self._hinted.clear()
            seconds = await self._run_once(backoff)
            await wait_at_most(seconds, self._hinted)

    async def _run_once(self, backoff: Backoff) -> float:
        """Apply what is due. Return the seconds until the next look."""
        try:
            due = await self._look()
            is_done = [await self._apply(id_) for id_ in due.ids]
        except Unavailable as error:
            log.debug("proposals_not_read", code=error.code)
            return backoff.next()
        next_seconds = POLL_SECONDS if due.next_seconds is None else due.next_seconds
        if not all(is_done):
            # Another proposal may be due before the next attempt.
            return min(backoff.next(), next_seconds)
        backoff.reset()
        return 0.0 if due.ids else min(POLL_SECONDS, next_seconds)

    async def _look(self) -> Due:
        async with self._database.connection() as connection:
            row = await sql.watch_proposals(connection, due_max=_DUE_MAX)
            if row["latest_event"] != self.latest_event:
                states = sql.count_proposals(connection)
                self._states = {item["state"]: item["proposals"] async for item in states}
        if row["latest_event"] != self.latest_event:
            self.latest_event = row["latest_event"]
            self._on_event()
        return Due(row["due"], row["next_seconds"])

    async def _apply(self, id_: int) -> bool:
        """Apply a due proposal, or mark it as failed. Return False to try again soon."""
        async with self._database.connection() as connection:
            proposal = await store.find(connection, id_)
        try:
            ready = await trial.check(self._database, self._vault, self._checks, proposal)
            is_done = await self._database.transact(lambda c: self._apply_locked(c, ready))
        except RetryLater as error:
            log.info("proposal_postponed", proposal=id_, code=error.code)
            return await self._database.transact(lambda c: self._fail(c, proposal))
        except AppError as error:
            reason = error.with_traceback(None)
            return await self._database.transact(lambda c: self._fail(c, proposal, reason))
        except Exception:
            # The others that are due must not wait for this one.
            log.exception("proposal_not_applied", proposal=id_)
            return await self._database.transact(lambda c: self._fail(c, proposal))
        self._ended["applied"] += is_done
        return is_done

    async def _apply_locked(self, connection: Connection, ready: trial.Checked) -> bool:
        """Apply a proposal. Return False if another instance does."""
        proposal = ready.proposal
        row = await sql.lock_due_proposal(connection, id=proposal.id, version=proposal.version)
        if row is None:
            return False
        if (late := _too_late(row)) is not None:
            raise late
        actor = await self._scheduler_of(connection, row["scheduled_by"])
        if lost := _unwritable(proposal, actor.rights):
            raise Conflict(
                "schedule_unauthorized",
                f"Who scheduled it may no longer write {', '.join(lost)}. Schedule it again.",
            )
        await service.apply(connection, ready, self._vault, actor)
        return True

    async def _fail(
        self, connection: Connection, proposal: Proposal, error: AppError | None = None
    ) -> bool:
        """Mark a proposal as failed: for an error, or because it is too late for another attempt.

        Return False if it must be tried again.
        """
        row = await sql.lock_due_proposal(connection, id=proposal.id, version=proposal.version)
        if row is None:
            return True
        error = error or _too_late(row)
        if error is None:
            return False
        current = await store.find(connection, proposal.id)
        actor = await self._scheduler_of(connection, row["scheduled_by"])
        await service.fail(connection, current, error, actor)
        log.warning("proposal_failed", proposal=proposal.id, code=error.code)
        self._ended["failed"] += 1
        return True

    async def _scheduler_of(self, connection: Connection, name: str) -> service.Actor:
        """Return who scheduled a proposal, with the rights that they have now."""
        known = await rights_of(connection, self._key, [name])
        return service.Actor(
            name=name,
            rights=known[name],
            key=self._key,
            origin=Origin(actor=name),
            log=self._access_log,
        )

    def metrics(self) -> Iterable[Metric]:
        yield gauges(
            "flagstone_proposals",
            "Proposals that are not decided, as of the last event.",
            "state",
            self._states,
        )
        yield counters(
            "flagstone_scheduled_proposals",
            "Scheduled proposals that this process has applied, or marked as failed.",
            "result",
            {result: self._ended[result] for result in ("applied", "failed")},
        )


WATCH: web.AppKey[ProposalWatch] = web.AppKey("proposal_watch", ProposalWatch)


def _unwritable(proposal: Proposal, rights: Rights) -> list[str]:
    """Return the environments, or the first keys in them, that may not be written."""
    lost = []
    for name in proposal.environments:
        held = rights.keys(Scope.WRITE, name)
        keys = [key for key in keys_in(proposal.operations, name) if key not in held]
        if not held:
            lost.append(f"in {name}")
        elif keys:
            more = f" and {len(keys) - 1} more" if len(keys) > 1 else ""
            lost.append(f"{name_of(keys[0])}{more} in {name}")
    return lost


def _too_late(row: Any) -> Conflict | None:
    """Return the error for a proposal that is due for too long."""
    late, limit = row["late_seconds"], row["expires_after_seconds"]
    if late <= limit:
        return None
    return Conflict(
        "proposal_late",
        f"It was due at {row['apply_at']:%Y-%m-%d %H:%M:%S} UTC, {late:.0f} s ago. "
        f"It may be applied up to {limit} s late. Schedule it again.",
    )
