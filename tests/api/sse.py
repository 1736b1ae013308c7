"""Read a stream of server-sent events."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from aiohttp import ClientResponse, ClientSession, ClientTimeout
from yarl import URL

from tests.waiting import HANG_SECONDS

# A stream without an event for this long is quiet.
SILENCE_SECONDS = 0.3
# A browser's name for events without one. It dispatches others to listeners of their name.
UNNAMED = "message"


@dataclass(frozen=True)
class Message:
    id: str
    name: str
    data: dict[str, Any]


class Stream:
    """Yields the events of these names and skips all others, as a browser does."""

    def __init__(self, answer: ClientResponse, names: frozenset[str]) -> None:
        self.answer = answer
        self._names = names

    async def next(self, seconds: float = HANG_SECONDS) -> Message:
        """Return the next message; comments and the retry time are skipped."""
        fields: dict[str, str] = {}
        async with asyncio.timeout(seconds):
            while True:
                line = (await self.answer.content.readuntil(b"\n")).decode().rstrip("\r\n")
                if line:
                    name, _, value = line.partition(": ")
                    fields[name] = value
                elif "data" in fields and fields.get("event", UNNAMED) in self._names:
                    name = fields.get("event", UNNAMED)
                    return Message(fields["id"], name, json.loads(fields["data"]))
                else:
                    fields = {}

    async def is_silent(self) -> bool:
        try:
            await self.next(SILENCE_SECONDS)
        except TimeoutError:
            return True
        return False

    async def end(self) -> bytes:
        """Return the rest of the stream until the server ends it."""
        async with asyncio.timeout(HANG_SECONDS):
            return await self.answer.content.read()


@asynccontextmanager
async def streaming(
    session: ClientSession, url: URL | str, headers: dict[str, str], *names: str
) -> AsyncIterator[Stream]:
    """Open a stream of the events with these names, by default unnamed ones."""
    async with session.get(url, headers=headers, timeout=ClientTimeout(total=60)) as answer:
        assert answer.status == 200, await answer.text()
        yield Stream(answer, frozenset(names or (UNNAMED,)))
