"""The faults: each makes the standby the leader, and then repairs the former leader."""

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from tests.failover.cluster import PatroniCluster, wait_for_primary
from tests.failover.nodes import Node
from tests.process.history.cluster import AWAY

# The time that traffic meets a former leader that still runs.
ZOMBIE_SECONDS = 4.0
# The lead of the leader over its standby in the mode `asynchronous, 1 s behind`.
BEHIND_SECONDS = 1.0

_COMMITS_SINCE = """
select environment, revision, message
from flagstone.change_sets
where created_at > to_timestamp($1)
"""


@dataclass(frozen=True)
class Commit:
    """A change set that the former leader committed after another one was promoted."""

    environment: str
    revision: int
    message: str


@dataclass(frozen=True, kw_only=True)
class Observation:
    """A fault with its times by time.monotonic(), and the commits on the former leader."""

    kind: str
    started: float
    leader_at: float
    healed_at: float
    commits_on_former: Sequence[Commit] = ()


@dataclass
class Faults:
    """Inflicts faults on a cluster."""

    cluster: PatroniCluster
    is_behind: bool
    _commits: list[Commit] = field(default_factory=list)

    async def inflict(self, kind: str, tell: Callable[[str], None]) -> Observation:
        """Inflict one fault, wait for the new leader, and repair the cluster."""
        old, new = await self.cluster.leader_and_standby()
        self._commits = []
        replication = self.cluster.replication[old.name]
        if self.is_behind:
            replication.flowing.clear()
            await asyncio.sleep(BEHIND_SECONDS)
        tell(f"{kind}: {old.name} leads")
        started = time.monotonic()
        promotion = asyncio.create_task(_promoted_at(new))
        try:
            await KINDS[kind](self, old, new, promotion)
        finally:
            promotion.cancel()
            replication.flowing.set()
        leader_at = promotion.result()
        tell(f"{kind}: {new.name} leads after {leader_at - started:.1f} s; repairing {old.name}")
        await self.cluster.leader_and_standby()
        return Observation(
            kind=kind,
            started=started,
            leader_at=leader_at,
            healed_at=time.monotonic(),
            commits_on_former=tuple(self._commits),
        )

    async def switch_over(self, old: Node, new: Node, promotion: "asyncio.Task[float]") -> None:
        await self.cluster.switch_over(old, new)
        await promotion

    async def kill(self, old: Node, _: Node, promotion: "asyncio.Task[float]") -> None:
        """Kill Patroni and PostgreSQL at once, as a power failure does."""
        old.kill_all()
        await promotion
        await asyncio.sleep(ZOMBIE_SECONDS)
        self._let_replicate(old)
        old.start()

    async def pause(self, old: Node, _: Node, promotion: "asyncio.Task[float]") -> None:
        """Pause the whole node, as a virtual machine is paused. PostgreSQL resumes first."""
        old.send(signal.SIGSTOP)
        old.signal_postgres(signal.SIGSTOP)
        try:
            await promotion
            await asyncio.sleep(1)
            old.signal_postgres(signal.SIGCONT)
            await self._meet_zombie(old, promotion.result())
        finally:
            self._let_replicate(old)
            old.signal_postgres(signal.SIGCONT)
            old.send(signal.SIGCONT)

    async def hang_patroni(self, old: Node, _: Node, promotion: "asyncio.Task[float]") -> None:
        """Pause Patroni alone. PostgreSQL accepts writes all the time, and nothing demotes it."""
        old.send(signal.SIGSTOP)
        # The signal must not stop PostgreSQL, whichever session Patroni has started it in.
        old.signal_postgres(signal.SIGCONT)
        try:
            await promotion
            await self._meet_zombie(old, promotion.result())
        finally:
            self._let_replicate(old)
            old.send(signal.SIGCONT)

    async def cut_from_etcd(self, old: Node, _: Node, promotion: "asyncio.Task[float]") -> None:
        """Cut the leader from etcd. Its clients still reach it."""
        proxy = self.cluster.to_etcd[old.name]
        proxy.flowing.clear()
        try:
            await promotion
            await self._meet_zombie(old, promotion.result())
        finally:
            self._let_replicate(old)
            proxy.flowing.set()

    async def _meet_zombie(self, old: Node, leader_at: float) -> None:
        """Leave the former leader with the traffic, and then read what it committed."""
        await asyncio.sleep(ZOMBIE_SECONDS)
        promoted = time.time() - (time.monotonic() - leader_at)
        try:
            rows = await old.query(_COMMITS_SINCE, promoted, database="flagstone")
        except AWAY:
            return  # it is down, so it committed nothing
        self._commits += [Commit(*row) for row in rows]

    def _let_replicate(self, old: Node) -> None:
        self.cluster.replication[old.name].flowing.set()


async def _promoted_at(new: Node) -> float:
    await wait_for_primary(new)
    return time.monotonic()


KINDS: Mapping[str, Callable[[Faults, Node, Node, "asyncio.Task[float]"], Awaitable[None]]] = {
    "switchover": Faults.switch_over,
    "primary killed": Faults.kill,
    "primary paused": Faults.pause,
    "Patroni hung": Faults.hang_patroni,
    "cut from etcd": Faults.cut_from_etcd,
}
# While the standby is behind, Patroni refuses a switchover. In the other two faults replication
# would be held for as long as Patroni needs, and not for one second.
KINDS_BEHIND = ("primary killed", "primary paused")
