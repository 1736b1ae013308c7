"""A client's end of a stream of server-sent events."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from aiohttp import ClientResponse, ClientSession, ClientTimeout
from yarl import URL

from tests.waiting import HANG_SECONDS

# No event comes within this; those that come take a few milliseconds.
SILENCE_SECONDS = 0.3
# What a browser calls an event that says no name; it passes others on to who asked for them by it.
UNNAMED = "message"


@dataclass(frozen=True)
class Message:
    id: str
    name: str
    data: dict[str, Any]


class Stream:
    """Tells the events of these names, and passes over all else, as a browser does."""

    def __init__(self, answer: ClientResponse, names: frozenset[str]) -> None:
        self.answer = answer
        self._names = names

    async def next(self, seconds: float = HANG_SECONDS) -> Message:
        """Return the next message; remarks and the retry time are none."""
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
        """Return what is still sent until the server ends the stream."""
        async with asyncio.timeout(HANG_SECONDS):
            return await self.answer.content.read()


@asynccontextmanager
async def streaming(
    session: ClientSession, url: URL | str, headers: dict[str, str], *names: str
) -> AsyncIterator[Stream]:
    """Open a stream and tell the events of these names, by default those without one."""
    async with session.get(url, headers=headers, timeout=ClientTimeout(total=60)) as answer:
        assert answer.status == 200, await answer.text()
        yield Stream(answer, frozenset(names or (UNNAMED,)))
