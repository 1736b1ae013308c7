"""A browser's end of a stream of refetchEvaluation events."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from aiohttp import ClientResponse, ClientTimeout
from yarl import URL

from tests.api.ofrep.conftest import Client

# No event comes within this; those that come take a few milliseconds.
SILENCE_SECONDS = 0.3


@dataclass(frozen=True)
class Message:
    id: str
    data: dict[str, Any]


class Stream:
    """A browser's end of a stream: it knows the URL and nothing else."""

    def __init__(self, answer: ClientResponse) -> None:
        self.answer = answer

    async def next(self, seconds: float = 5) -> Message:
        """Return the next message. Any named event would be passed over, as browsers do."""
        fields: dict[str, str] = {}
        async with asyncio.timeout(seconds):
            while True:
                line = (await self.answer.content.readuntil(b"\n")).decode().rstrip("\r\n")
                if line:
                    name, _, value = line.partition(": ")
                    fields[name] = value
                elif "data" in fields and "event" not in fields:
                    return Message(fields["id"], json.loads(fields["data"]))
                else:
                    fields = {}

    async def is_silent(self) -> bool:
        try:
            await self.next(SILENCE_SECONDS)
        except TimeoutError:
            return True
        return False

    async def end(self, seconds: float) -> bytes:
        """Return what is still sent until the server ends the stream."""
        async with asyncio.timeout(seconds):
            return await self.answer.content.read()


@asynccontextmanager
async def listening(
    ofrep: Client, url: URL | None = None, *, headers: Mapping[str, str] | None = None
) -> AsyncIterator[Stream]:
    url = url or (await ofrep.all()).stream
    async with ofrep.session.get(url, headers=headers, timeout=ClientTimeout(total=60)) as answer:
        assert answer.status == 200, await answer.text()
        yield Stream(answer)
