"""One round: a new cluster under load, each fault once, and the verdict."""

import asyncio
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import ClientSession, TCPConnector

from tests.failover import load
from tests.failover.cluster import PatroniCluster, UnhealthyError, running
from tests.failover.faults import Faults, Observation
from tests.failover.load import Evaluation, PacedTraffic
from tests.failover.result import Figures, figures, lost_from
from tests.paths import ROOT
from tests.process.history.checker import describe, violations
from tests.process.history.final import agree, read_endings
from tests.process.history.past import Past, Violation
from tests.process.history.records import Final, Record, Write, save
from tests.process.history.wishes import ENVIRONMENTS

WRITES_BACK_SECONDS = 10.0
# Traffic before the first fault and after each.
_CALM_SECONDS = 4.0
# Time for the start, all faults and the recovery.
_ROUND_SECONDS = 1_200.0


@dataclass(frozen=True)
class Mode:
    name: str
    is_synchronous: bool
    is_behind: bool
    kinds: Sequence[str]


@dataclass
class Round:
    """The records of a round, and at its end the figures and the broken promises."""

    mode: Mode
    seed: str
    records: list[Record] = field(default_factory=list)
    evaluations: list[Evaluation] = field(default_factory=list)
    observations: list[Observation] = field(default_factory=list)
    finals: Sequence[Final] = ()
    figures: Sequence[Figures] = ()
    broken: Sequence[str] = ()
    # Health reports of replaced histories, by replica and environment.
    reported: dict[str, str] = field(default_factory=dict)

    async def go(self, folder: Path, tell: Callable[[str], None]) -> None:
        """Run the round in a folder. A broken promise saves the history and the logs."""
        try:
            tell("starting etcd, two Patroni nodes and three replicas")
            async with (
                asyncio.timeout(_ROUND_SECONDS),
                running(folder, synchronous=self.mode.is_synchronous) as cluster,
                ClientSession(connector=TCPConnector(limit=0)) as client,
            ):
                traffic = PacedTraffic(cluster=cluster, client=client, records=self.records)
                epochs = await _epochs(cluster)
                await self._have_traffic(cluster, traffic, tell)
                self.reported = await _replaced_histories(cluster)
            self.figures = [
                figures(observation, self.records, self.evaluations, self.finals)
                for observation in self.observations
            ]
            self.broken = [*self._broken(epochs)]
        except* UnhealthyError as errors:
            self.broken = [f"the cluster is not healthy: {error}" for error in _leaves(errors)]
        finally:
            if self.broken or sys.exception() is not None:
                self.keep(folder)

    async def _have_traffic(
        self, cluster: PatroniCluster, traffic: PacedTraffic, tell: Callable[[str], None]
    ) -> None:
        await load.create_flag(traffic)
        listeners = load.listeners(traffic, self.seed)
        faults = Faults(cluster, self.mode.is_behind)
        async with asyncio.TaskGroup() as tasks:
            listening = [tasks.create_task(listener.run()) for listener in listeners]
            async with asyncio.TaskGroup() as ending:
                load.start_clients(ending, traffic, self.seed, self.evaluations)
                for kind in self.mode.kinds:
                    await asyncio.sleep(_CALM_SECONDS)
                    self.observations.append(await faults.inflict(kind, tell))
                await asyncio.sleep(_CALM_SECONDS)
                traffic.ended.set()
            tell("waiting until the replicas agree")
            await agree(traffic, listeners, ENVIRONMENTS)
            for task in listening:
                task.cancel()
        endings = await read_endings(traffic, listeners, ENVIRONMENTS)
        self.finals = [end for end in endings if isinstance(end, Final)]

    def _broken(self, epochs: Mapping[str, str]) -> list[str]:
        """Return each broken promise as text."""
        lost = sum(each.lost for each in self.figures)
        is_replaced = epochs != {final.environment: final.epoch for final in self.finals}
        broken = []
        if lost and self.mode.is_synchronous:
            broken.append(f"{lost} acknowledged writes are lost in synchronous mode")
        elif lost or (is_replaced and not self.mode.is_synchronous):
            # The checker knows one history only. A write that was read may be lost too.
            broken += self._unreported(epochs)
        else:
            broken += _described(violations(self.records, self.finals))
        for each in self.figures:
            if each.failed_reads:
                broken.append(f"{each.kind}: {each.failed_reads} reads failed")
            if each.acknowledged_on_former:
                broken.append(f"{each.kind}: the old primary got acknowledged writes")
            if each.after_leader_seconds > WRITES_BACK_SECONDS:
                broken.append(
                    f"{each.kind}: writes came back {each.after_leader_seconds:.1f} s after the "
                    "new leader"
                )
        return broken

    def _unreported(self, epochs: Mapping[str, str]) -> list[str]:
        """Return the environments that lost writes without a new epoch or a health warning."""
        pasts = {final.environment: Past(final) for final in self.finals}
        writes = [record for record in self.records if isinstance(record, Write)]
        lost: set[str] = set().union(*(lost_from(write, pasts) for write in writes))
        warned = {place.partition("/")[2] for place in self.reported}
        return [
            *(
                f"{name} lost writes, but has its old epoch"
                for name in sorted(lost)
                if pasts[name].final.epoch == epochs[name]
            ),
            *(f"no replica reports in /health that {name} lost writes" for name in lost - warned),
        ]

    @property
    def saved_in(self) -> Path:
        return ROOT / ".history" / f"failover-{self.seed}"

    def keep(self, folder: Path) -> None:
        """Save the history and the logs of the service and of the nodes."""
        self.saved_in.mkdir(parents=True, exist_ok=True)
        save(self.saved_in / "history.jsonl", [*self.records, *self.finals])
        for log in [*folder.glob("*/*.log"), *folder.glob("*/log")]:
            shutil.copy(log, self.saved_in / f"{log.parent.name}-{log.name}")


async def _epochs(cluster: PatroniCluster) -> dict[str, str]:
    async with cluster.admin() as connection:
        rows = await connection.fetch("select name, epoch::text from flagstone.environments")
    return {row["name"]: row["epoch"] for row in rows if row["name"] in ENVIRONMENTS}


async def _replaced_histories(cluster: PatroniCluster) -> dict[str, str]:
    reported: dict[str, str] = {}
    for replica in cluster.replicas:
        async with cluster.client.get(
            f"{replica.process.url}/health", headers=cluster.headers
        ) as answer:
            checks: dict[str, Any] = (await answer.json(content_type=None))["checks"]
        for name in ENVIRONMENTS:
            output = checks[f"snapshot:{name}"][0].get("output")
            if output:
                reported[f"{replica.name}/{name}"] = output
    return reported


def _described(violated: Sequence[Violation]) -> list[str]:
    return [describe(violated)] if violated else []


def _leaves(group: BaseExceptionGroup[Any]) -> Iterator[BaseException]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error
