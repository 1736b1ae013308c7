"""Cause faults from a shuffled deck: each kind occurs once before any repeats."""

import asyncio
import random
import signal
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress

import psutil

from tests.process.history.cluster import AWAY, Cluster
from tests.process.history.records import Fault, Record
from tests.waiting import until

# The probability that two faults overlap.
_TOGETHER = 0.3


class Nemesis:
    """Causes faults for a time. Each fault is repaired when its method returns."""

    def __init__(self, cluster: Cluster, records: list[Record], seed: str) -> None:
        self._cluster = cluster
        self._records = records
        self._chance = random.Random(f"{seed}/nemesis")  # noqa: S311 - to be repeated
        # The replicas that no running fault stops.
        self._standing = list(cluster.replicas)
        self._kinds: Mapping[str, Callable[[], Awaitable[str]]] = {
            "sessions ended": self._end_sessions,
            "listeners ended": self._end_listeners,
            "backend killed": self._kill_backend,
            "database killed": self._kill_database,
            "database frozen": self._freeze_database,
            "backend frozen": self._freeze_backend,
            "replica killed": self._kill_replica,
            "replica restarted": self._restart_replica,
            "replica frozen": self._freeze_replica,
        }

    async def run(self, seconds: float, tell: Callable[[str], None]) -> None:
        """Go through the deck at least once and continue until the time is up."""
        deadline = time.monotonic() + seconds
        deck = self._deck()
        count = 0
        while count < len(self._kinds) or time.monotonic() < deadline:
            await asyncio.sleep(self._chance.uniform(0.1, 1.2))
            deck = deck or self._deck()
            drawn = [deck.pop()]
            if deck and self._chance.random() < _TOGETHER:
                drawn.append(deck.pop())
            count += len(drawn)
            tell(" and ".join(drawn))
            await asyncio.gather(*(self._inflict(kind) for kind in drawn))

    def _deck(self) -> list[str]:
        return self._chance.sample(list(self._kinds), len(self._kinds))

    async def _inflict(self, kind: str) -> None:
        started = time.monotonic()
        target = await self._kinds[kind]()
        self._records.append(
            Fault(kind=kind, target=target, started=started, ended=time.monotonic())
        )

    async def _end_sessions(self) -> str:
        return await self._terminate("random() < 0.5")

    async def _end_listeners(self) -> str:
        # A listener sends a query between notifications to check its connection.
        return await self._terminate("query ilike 'listen%' or query = 'select 1'")

    async def _terminate(self, which: str) -> str:
        return await self._ask(
            "select string_agg(pid::text, ' ') filter (where pg_terminate_backend(pid)) "  # noqa: S608 - ours
            f"from pg_stat_activity where usename = 'flagstone_app' and ({which})"
        )

    async def _kill_backend(self) -> str:
        """Kill a session's process: PostgreSQL ends all others and recovers from its log."""
        backends = await self._backend()
        for backend in backends:
            with suppress(psutil.NoSuchProcess):
                backend.kill()
        await until(self._cluster.accepts)
        return _ids(backends)

    async def _freeze_backend(self) -> str:
        """Freeze a session's process, which may hold locks."""
        return await self._freeze(await self._backend())

    async def _backend(self) -> list[psutil.Process]:
        """Return a session's process, preferably an active one; none when all are down."""
        rows = await self._ask(
            "select pid::text from pg_stat_activity where usename = 'flagstone_app' "
            "order by state <> 'idle' desc, random() limit 1"
        )
        with suppress(psutil.NoSuchProcess):
            return [psutil.Process(int(rows))] if rows else []
        return []

    async def _kill_database(self) -> str:
        """Kill the postmaster; one of the replicas starts another."""
        pids = self._cluster.server()[:1]
        for postmaster in pids:
            with suppress(psutil.NoSuchProcess):
                postmaster.kill()
        await until(self._cluster.accepts)
        return _ids(pids)

    async def _freeze_database(self) -> str:
        return await self._freeze(self._cluster.server())

    async def _freeze_replica(self) -> str:
        replica = self._chance.choice(self._cluster.replicas)
        assert replica.process.child is not None
        with suppress(psutil.NoSuchProcess):
            # Another fault may have killed it.
            await self._freeze([psutil.Process(replica.process.child.pid)])
        return replica.name

    async def _freeze(self, processes: list[psutil.Process]) -> str:
        try:
            for process in processes:
                with suppress(psutil.NoSuchProcess):
                    process.suspend()
            await asyncio.sleep(self._chance.uniform(0.5, 2.5))
        finally:
            for process in reversed(processes):
                with suppress(psutil.NoSuchProcess):
                    process.resume()
        return _ids(processes)

    async def _kill_replica(self) -> str:
        return await self._again(signal.SIGKILL)

    async def _restart_replica(self) -> str:
        return await self._again(signal.SIGTERM)

    async def _again(self, number: signal.Signals) -> str:
        """Stop a replica and start it again."""
        replica = self._chance.choice(self._standing)
        self._standing.remove(replica)
        await replica.end(number)
        await asyncio.sleep(self._chance.uniform(0, 0.5))
        await replica.start()
        self._standing.append(replica)
        return replica.name

    async def _ask(self, query: str) -> str:
        """Return one value, or None while another fault has stopped the database."""
        with suppress(*AWAY):
            async with self._cluster.admin() as connection:
                return str(await connection.fetchval(query) or "")
        return ""


def _ids(processes: Iterable[psutil.Process]) -> str:
    return " ".join(str(process.pid) for process in processes)
