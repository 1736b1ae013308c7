"""One run: traffic under faults from one seed, recovery, and the verdict."""

import asyncio
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import ClientSession, TCPConnector

from tests.paths import ROOT
from tests.process.history.checker import describe, violations
from tests.process.history.cluster import running
from tests.process.history.final import agree, read_endings
from tests.process.history.nemesis import Nemesis
from tests.process.history.past import Violation
from tests.process.history.people import Person, protect
from tests.process.history.plan_rules import SCHEDULED
from tests.process.history.plan_writer import PlanWriter, create_environment, keep_evaluating
from tests.process.history.readers import Listener, keep_reading
from tests.process.history.records import (
    Action,
    Ending,
    Evaluated,
    Fault,
    Final,
    FinalProposal,
    Heard,
    Read,
    Record,
    Write,
    save,
)
from tests.process.history.traffic import Traffic
from tests.process.history.wishes import FOLLOWED
from tests.process.history.writers import CrowdWriter, Writer
from tests.waiting import HANG_SECONDS

WRITERS = 8
# Writers to one environment of one replica.
CROWD = 6
# Two complete streams and one with a prefix for each environment.
_PREFIXES = ("", "", "shop/")
# Time for the start, the last fault and the recovery.
_OVERTIME_SECONDS = 4 * HANG_SECONDS
# A traceback names its error at the end.
_LOGGED_MAX = 400
# asyncpg logs this when a late cancellation interrupts BEGIN or ROLLBACK, and rolls back.
_ROLLED_BACK = "Resetting connection with an active transaction"


@dataclass
class Run:
    """The records of a run, and at its end the verdict."""

    seed: str
    records: list[Record] = field(default_factory=list)
    endings: Sequence[Ending] = ()
    violations: Sequence[Violation] = ()
    agreed_after_seconds: float = 0.0

    async def go(
        self, folder: Path, seconds: float, tell: Callable[[str], None] = lambda _: None
    ) -> None:
        """Run the service in the folder with traffic and faults for a time, then check."""
        try:
            tell("starting")
            async with (
                asyncio.timeout(seconds + _OVERTIME_SECONDS),
                running(folder) as cluster,
                ClientSession(connector=TCPConnector(limit=0)) as client,
            ):
                traffic = Traffic(cluster=cluster, client=client, records=self.records)
                await self._have_traffic(traffic, seconds, tell)
            self.violations = [*violations(self.records, self.endings), *_logged_errors(folder)]
        except BaseException as error:
            self.keep(folder)
            error.add_note(f"seed {self.seed}, saved in {self.saved_in}")
            raise
        if self.violations:
            self.keep(folder)

    async def _have_traffic(
        self, traffic: Traffic, seconds: float, tell: Callable[[str], None]
    ) -> None:
        listeners = [
            Listener(f"{environment}/{n}", traffic, self.seed, environment, prefix)
            for environment in FOLLOWED
            for n, prefix in enumerate(_PREFIXES)
        ]
        nemesis = Nemesis(traffic.cluster, self.records, self.seed)
        people = await protect(traffic)
        await create_environment(traffic)
        planners = [
            PlanWriter(f"q{n}", traffic, self.seed, replica)
            for n, replica in enumerate(traffic.cluster.replicas)
        ]
        async with asyncio.TaskGroup() as tasks:
            listening = [tasks.create_task(listener.run()) for listener in listeners]
            async with asyncio.TaskGroup() as ending:
                for n in range(WRITERS):
                    ending.create_task(Writer(f"w{n}", traffic, self.seed).run())
                for n in range(CROWD):
                    ending.create_task(CrowdWriter(f"c{n}", traffic, self.seed).run())
                for n, token in enumerate(people):
                    ending.create_task(Person(f"p{n}", token, traffic, self.seed).run())
                for planner in planners:
                    ending.create_task(planner.run())
                for replica in traffic.cluster.replicas:
                    ending.create_task(keep_reading(traffic, replica, self.seed))
                    ending.create_task(keep_evaluating(traffic, replica, self.seed))
                await nemesis.run(seconds, tell)
                traffic.ended.set()
            tell("healing")
            for planner in planners:
                await planner.write_last()
            self.agreed_after_seconds = await agree(traffic, listeners)
            for task in listening:
                task.cancel()
        self.endings = await read_endings(traffic, listeners)

    @property
    def saved_in(self) -> Path:
        # Not a temporary folder: the suite removes those.
        return ROOT / ".history" / self.seed

    def keep(self, folder: Path) -> None:
        """Save the history and the logs of the service."""
        self.saved_in.mkdir(parents=True, exist_ok=True)
        save(self.saved_in / "history.jsonl", [*self.records, *self.endings])
        for log in folder.glob("*.log"):
            shutil.copy(log, self.saved_in)

    @property
    def verdict(self) -> str:
        return (
            f"seed {self.seed}: {len(self.violations)} violations, saved in {self.saved_in}\n"
            f"{describe(self.violations)}"
        )

    @property
    def summary(self) -> str:
        """Return counts of the run's events, which expose an idle run."""
        outcomes = Counter(write.outcome for write in self._of(Write))
        heard = Counter(message.name for message in self._of(Heard))
        states = Counter(end.state for end in self.endings if isinstance(end, FinalProposal))
        actions = Counter(f"{item.kind}-{item.status}" for item in self._of(Action))
        reads = Counter(read.status for read in self._of(Read))
        finals = [end for end in self.endings if isinstance(end, Final)]
        steps = sum(item.kind == SCHEDULED for final in finals for item in final.change_sets)
        return (
            f"{sum(final.revision for final in finals)} revisions, "
            f"writes {_counts(outcomes)}, reads {_counts(reads)}, heard {_counts(heard)}, "
            f"proposals {_counts(states)}, actions {_counts(actions)}, "
            f"steps of plans {steps}, evaluations {len(self._of(Evaluated))}, "
            f"{len(self._of(Fault))} faults, agreed after {self.agreed_after_seconds:.1f} s"
        )

    def _of(self, kind: type[Record]) -> list[Any]:
        return [record for record in self.records if isinstance(record, kind)]


def _logged_errors(folder: Path) -> Iterator[Violation]:
    """Yield logged errors: a database fault must log warnings at most."""
    for log in folder.glob("service-*.log"):
        for line in log.read_text().splitlines():
            is_error = '"level": "error"' in line or "Traceback" in line
            if is_error and _ROLLED_BACK not in line:
                yield Violation("error_logged", line[-_LOGGED_MAX:])


def _counts(counter: Counter[Any]) -> str:
    return " ".join(f"{name}:{count}" for name, count in sorted(counter.items()))
