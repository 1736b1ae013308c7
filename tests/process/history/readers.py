"""Read and listen: a reader for each replica, and streams that change replicas."""

import asyncio
import random
import time
from contextlib import suppress

import msgspec
from aiohttp import ClientError, ClientResponse, ClientTimeout

from tests.process.history.cluster import Replica
from tests.process.history.records import Heard
from tests.process.history.traffic import Traffic
from tests.process.history.wishes import FOLLOWED


async def keep_reading(traffic: Traffic, replica: Replica, seed: str) -> None:
    """Read one replica repeatedly, sometimes at the revision it has reached."""
    chance = random.Random(f"{seed}/reader/{replica.name}")  # noqa: S311 - to be repeated
    seen: dict[str, int] = {}
    while not traffic.ended.is_set():
        environment = chance.choice(FOLLOWED)
        min_revision = seen.get(environment) if chance.random() < 0.3 else None
        read = await traffic.read(f"reader/{replica.name}", replica, environment, min_revision)
        if read.status == 200:
            seen[environment] = read.revision
        await asyncio.sleep(chance.uniform(0.01, 0.06))


class _Keys(msgspec.Struct):
    keys: tuple[str, ...] = ()


class Listener:
    """A stream that disconnects at random and resumes at any replica."""

    def __init__(
        self, name: str, traffic: Traffic, seed: str, environment: str, prefix: str
    ) -> None:
        self.name = name
        self.environment = environment
        self.revision = -1
        self._traffic = traffic
        self._chance = random.Random(f"{seed}/{name}")  # noqa: S311 - to be repeated
        self._prefix = prefix
        self._last_id: str | None = None
        self._connections = 0

    async def run(self) -> None:
        """Listen until cancelled."""
        while True:
            with suppress(ClientError, TimeoutError):
                async with asyncio.timeout(self._chance.uniform(0.2, 3)):
                    await self._connect(self._chance.choice(self._traffic.cluster.replicas))
            # Sometimes so long that a replica started since has an older revision.
            pause = self._chance.uniform(1, 5) if self._chance.random() < 0.2 else 0.1
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._traffic.ended.wait()
            await asyncio.sleep(0.02)

    async def _connect(self, replica: Replica) -> None:
        headers = dict(self._traffic.cluster.headers)
        if self._last_id is not None:
            headers["Last-Event-ID"] = self._last_id
        async with self._traffic.client.get(
            f"{replica.process.url}/v1/environments/{self.environment}/events",
            params={"prefix": self._prefix},
            headers=headers,
            timeout=ClientTimeout(),
        ) as answer:
            assert answer.status in {200, 503}, await answer.text()
            if answer.status == 200:
                self._connections += 1
                await self._listen(answer, replica)

    async def _listen(self, answer: ClientResponse, replica: Replica) -> None:
        fields: dict[str, str] = {}
        async for line in answer.content:
            if text := line.decode().rstrip("\r\n"):
                name, _, value = text.partition(": ")
                fields[name] = value
                continue
            if "id" in fields:
                self._hear(fields, replica)
            fields = {}

    def _hear(self, fields: dict[str, str], replica: Replica) -> None:
        self._last_id = fields["id"]
        epoch, _, revision = self._last_id.rpartition(":")
        self.revision = int(revision)
        data = msgspec.json.decode(fields.get("data", "{}"), type=_Keys)
        self._traffic.records.append(
            Heard(
                client=self.name,
                connection=self._connections,
                replica=replica.name,
                environment=self.environment,
                prefix=self._prefix,
                at=time.monotonic(),
                name=fields.get("event", "place"),
                epoch=epoch,
                revision=self.revision,
                keys=data.keys,
            )
        )
