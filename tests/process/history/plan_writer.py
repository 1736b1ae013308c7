"""Give flags plans whose steps begin during the run, and evaluate them at every replica."""

import asyncio
import random
import time
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from tests.process.history.cluster import Replica
from tests.process.history.plan_rules import instant_of
from tests.process.history.records import Evaluated, Outcome, Read
from tests.process.history.traffic import Traffic
from tests.process.history.wishes import PLANNED, Wish, put
from tests.process.history.writers import Writer

FLAGS = tuple(f"launch/{n}" for n in range(3))
_STEPS = ("v1", "v2", "v3")
_DEFAULT = "v0"
_PAUSE_SECONDS = 0.3
_LAST_ATTEMPTS = 50


async def create_environment(traffic: Traffic) -> None:
    body = {"name": PLANNED, "tier": "staging"}
    answer, _ = await traffic.ask(
        traffic.cluster.replicas[0], "POST", "/v1/environments", body=body
    )
    assert answer.status == 201, answer


class PlanWriter(Writer):
    """Writes flags with plans at one replica.

    Its last plan comes after the faults, and makes each replica look for steps that no other
    replica has written.
    """

    def __init__(self, name: str, traffic: Traffic, seed: str, replica: Replica) -> None:
        super().__init__(name, traffic, seed)
        self._replica = replica

    async def run(self) -> None:
        while not self._traffic.ended.is_set():
            await self.write_once()
            await asyncio.sleep(self._chance.uniform(0, 2 * _PAUSE_SECONDS))

    async def write_last(self) -> None:
        """Write until a plan is acknowledged."""
        for _ in range(_LAST_ATTEMPTS):
            write = await self.write_once()
            if write is not None and write.outcome is Outcome.OK:
                return
            await asyncio.sleep(_PAUSE_SECONDS)

    def _environments(self) -> Sequence[str]:
        return (PLANNED,)

    def _wish(self, name: str, known: Mapping[str, Read]) -> Wish:
        key = self._chance.choice(FLAGS)
        entry = known[PLANNED].entries.get(key)
        return put(name, PLANNED, key, entry, value=self._flag(name), kind="flag")

    def _flag(self, name: str) -> dict[str, Any]:
        now, steps = int(time.time()), []
        for variant in _STEPS:
            now += self._chance.choice((1, 1, 2))
            steps.append({"at": instant_of(now), "defaultVariant": variant})
        return {
            "state": "ENABLED",
            "variants": {variant: variant for variant in (_DEFAULT, *_STEPS)},
            "defaultVariant": _DEFAULT,
            "plan": {"name": name, "steps": steps},
        }

    def _anyone(self) -> Replica:
        return self._replica


class _Outcome(msgspec.Struct):
    key: str
    variant: str


class _Outcomes(msgspec.Struct):
    flags: list[_Outcome]


async def keep_evaluating(traffic: Traffic, replica: Replica, seed: str) -> None:
    """Evaluate the flags at one replica repeatedly."""
    chance = random.Random(f"{seed}/evaluator/{replica.name}")  # noqa: S311 - to be repeated
    path = f"/v1/environments/{PLANNED}/ofrep/v1/evaluate/flags"
    while not traffic.ended.is_set():
        started = time.time()
        answer, _ = await traffic.ask(replica, "POST", path, body={"context": {}})
        ended = time.time()
        if answer.status == 200:
            outcomes = msgspec.json.decode(answer.body, type=_Outcomes)
            traffic.records.append(
                Evaluated(
                    replica=replica.name,
                    started=started,
                    ended=ended,
                    revision=int(answer.revision.rpartition(":")[2]),
                    variants={flag.key: flag.variant for flag in outcomes.flags},
                )
            )
        await asyncio.sleep(chance.uniform(0.02, 0.1))
