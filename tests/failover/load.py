"""The load: the writers, readers and streams of the history test, slower, and evaluations."""

import asyncio
import random
from dataclasses import dataclass
from itertools import count

from tests.process.history.cluster import Replica
from tests.process.history.readers import Listener, keep_reading
from tests.process.history.records import Read
from tests.process.history.traffic import Traffic
from tests.process.history.wishes import ENVIRONMENTS
from tests.process.history.writers import CrowdWriter, Writer

_WRITERS = 4
_CROWD = 3
_PREFIXES = ("", "shop/")
# Runs take minutes, and the checker reads every record.
_PAUSE_SECONDS = 0.06
_EVALUATION_SECONDS = 0.05
# No writer uses this environment.
_FLAG_ENVIRONMENT = "production"
_FLAG = {
    "kind": "flag",
    "value": {
        "state": "ENABLED",
        "variants": {"on": True, "off": False},
        "defaultVariant": "off",
        "targeting": {"if": [{"in": [{"var": "plan"}, ["team"]]}, "on", "off"]},
    },
    "message": "For the load of the failover test.",
}


@dataclass(frozen=True)
class Evaluation:
    replica: str
    ended: float
    status: int


@dataclass(frozen=True, kw_only=True)
class PacedTraffic(Traffic):
    """Waits before each read, so also before each write, which follows a read."""

    async def read(
        self, client: str, replica: Replica, environment: str, min_revision: int | None = None
    ) -> Read:
        await asyncio.sleep(_PAUSE_SECONDS)
        return await super().read(client, replica, environment, min_revision)


async def create_flag(traffic: Traffic) -> None:
    path = f"/v1/environments/{_FLAG_ENVIRONMENT}/configurations/rollout"
    answer, _ = await traffic.ask(
        traffic.cluster.replicas[0], "PUT", path, headers={"If-None-Match": "*"}, body=_FLAG
    )
    assert answer.status == 201, answer


async def keep_evaluating(
    traffic: Traffic, replica: Replica, evaluations: list[Evaluation]
) -> None:
    """Evaluate the flag on one replica until the traffic ends."""
    path = f"/v1/environments/{_FLAG_ENVIRONMENT}/ofrep/v1/evaluate/flags/rollout"
    for number in count():
        if traffic.ended.is_set():
            return
        body = {"context": {"targetingKey": f"user-{number}", "plan": "team"}}
        answer, attempt = await traffic.ask(replica, "POST", path, body=body)
        is_right = answer.status == 200 and b'"value":true' in answer.body
        status = answer.status if is_right or answer.status != 200 else -1
        evaluations.append(Evaluation(replica.name, attempt.ended, status))
        await asyncio.sleep(_EVALUATION_SECONDS)


def listeners(traffic: Traffic, seed: str) -> list[Listener]:
    return [
        Listener(f"{environment}/{n}", traffic, seed, environment, prefix)
        for environment in ENVIRONMENTS
        for n, prefix in enumerate(_PREFIXES)
    ]


def start_clients(
    tasks: asyncio.TaskGroup, traffic: Traffic, seed: str, evaluations: list[Evaluation]
) -> None:
    """Start all clients but the streams. They end with the traffic."""
    chance = random.Random(seed)  # noqa: S311 - to be repeated
    for n in range(_WRITERS):
        tasks.create_task(Writer(f"w{n}", traffic, f"{seed}/{chance.random()}").run())
    for n in range(_CROWD):
        tasks.create_task(CrowdWriter(f"c{n}", traffic, f"{seed}/{chance.random()}").run())
    for replica in traffic.cluster.replicas:
        tasks.create_task(keep_reading(traffic, replica, seed))
        tasks.create_task(keep_evaluating(traffic, replica, evaluations))
