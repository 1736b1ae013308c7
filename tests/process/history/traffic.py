"""Send a client's requests to a replica and record them."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
from aiohttp import ClientError, ClientSession, ClientTimeout

from tests.process.history.cluster import Cluster, Replica
from tests.process.history.past import entries_of
from tests.process.history.records import Attempt, Read, Record, Served

ANSWER_SECONDS = 4.0


@dataclass(frozen=True)
class Answer:
    """Status 0 means that no answer arrived."""

    status: int = 0
    revision: str = ""
    body: bytes = b""


@dataclass(frozen=True, kw_only=True)
class Traffic:
    cluster: Cluster
    client: ClientSession
    records: list[Record]
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    async def ask(
        self,
        replica: Replica,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: Any = None,
        seconds: float = ANSWER_SECONDS,
    ) -> tuple[Answer, Attempt]:
        """Send one request to one replica."""
        started = time.monotonic()
        try:
            async with self.client.request(
                method,
                replica.process.url + path,
                headers={**self.cluster.headers, **(headers or {})},
                json=body,
                timeout=ClientTimeout(total=seconds),
            ) as response:
                revision = response.headers.get("Flagstone-Revision", "")
                answer = Answer(response.status, revision, await response.read())
        except (ClientError, TimeoutError):
            answer = Answer()
        return answer, Attempt(replica.name, started, time.monotonic(), answer.status)

    async def read(
        self, client: str, replica: Replica, environment: str, min_revision: int | None = None
    ) -> Read:
        """Read all entries of an environment and record them."""
        path = f"/v1/environments/{environment}/configurations?limit=500"
        if min_revision is not None:
            path += f"&min_revision={min_revision}"
        life = replica.life
        answer, attempt = await self.ask(replica, "GET", path)
        read = Read(
            client=client,
            replica=replica.name,
            life=life,
            environment=environment,
            min_revision=min_revision,
            started=attempt.started,
            ended=attempt.ended,
            status=answer.status,
        )
        if answer.status == 200:
            served = served_by(answer)
            read = msgspec.structs.replace(
                read, epoch=served.epoch, revision=served.revision, entries=entries_of(served)
            )
        self.records.append(read)
        return read


def served_by(answer: Answer) -> Served:
    epoch, _, revision = answer.revision.rpartition(":")
    return Served(epoch, int(revision), answer.body.decode())
