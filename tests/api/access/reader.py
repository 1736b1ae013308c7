"""Callers of some keys, who send every request that reads."""

import asyncio
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from aiohttp import ClientSession

from app.access.models import Scope
from tests.api.access.readers import (
    REQUESTS,
    Request,
    forms,
    name_of,
    pages,
    reads,
    requests_of,
    requests_of_form,
    requests_of_page,
)
from tests.api.access.two_owners import MARKER, OWN, Owner, fill
from tests.conftest import Service

_SCOPES = (Scope.READ, Scope.EVALUATE, Scope.REVEAL, Scope.WRITE, Scope.APPROVE, Scope.ADMIN)
_STREAM_SECONDS = 0.3
_REQUEST_ID = "0" * 26
# The time of the answer, its length, and the time at which its ETag was first given.
_OTHER_HEADERS = frozenset({"Date", "Content-Length", "Last-Modified"})


@dataclass(frozen=True, kw_only=True)
class Answer:
    status: int
    sent: str
    text: str
    headers: str


@dataclass(frozen=True, kw_only=True)
class Reader:
    """Sends all requests that read, with a token. `values` fill in the paths."""

    client: ClientSession
    token: str
    epoch: str
    values: Mapping[str, str]

    async def get(self, request: Request) -> Answer:
        stream = "proposals" if "proposals" in request.path else self.epoch
        headers = {
            "X-API-Key": self.token,
            "X-Request-ID": _REQUEST_ID,
            "Last-Event-ID": f"{stream}:0",
        }
        sent: dict[str, Any] = {"json": request.body}
        if request.form is not None:
            headers["Sec-Fetch-Site"] = "same-origin"
            sent = {"data": request.form}
        async with self.client.request(
            request.method, request.url, **sent, headers=headers, allow_redirects=False
        ) as answer:
            if answer.content_type == "text/event-stream":
                content = bytearray()
                with suppress(TimeoutError):
                    async with asyncio.timeout(_STREAM_SECONDS):
                        async for line in answer.content:
                            content += line
                text = content.decode()
            else:
                text = (await answer.read()).decode(errors="replace")
            shown = {n: v for n, v in answer.headers.items() if n not in _OTHER_HEADERS}
            return Answer(status=answer.status, sent=str(sent), text=text, headers=str(shown))

    def requests(self, prefix: str = OWN) -> Iterable[Request]:
        for route in reads():
            if name_of(route) in REQUESTS:
                yield from requests_of(route, self.values, prefix)
        for page in pages():
            yield from requests_of_page(page, self.values, prefix)
        for page in forms():
            yield requests_of_form(page, self.values, prefix)

    async def all(self, prefix: str = OWN) -> dict[str, Answer]:
        """Return each answer, by the request."""
        return {request.name: await self.get(request) for request in self.requests(prefix)}


@dataclass(frozen=True, kw_only=True)
class Filled:
    """The filled environments, their other owner, and readers of the own keys.

    One reader is for one environment, as OFREP needs it.
    """

    other: Owner
    readers: tuple[Reader, ...]


async def filled_readers(service: Service) -> Filled:
    """Fill the environments."""
    other = await fill(service)
    async with service.client.get("/v1/proposals?environment=local") as answer:
        proposals = (await answer.json())["items"]
    own = next(str(item["id"]) for item in proposals if item["title"] == "own title")
    async with service.client.get("/v1/environments/local") as answer:
        environment = await answer.json()
    epoch, revision = environment["epoch"], environment["revision"]
    readers = []
    for environments in (("local", "staging"), ("local",)):
        token = await service.token(*_SCOPES, environments=environments, prefixes=(OWN,))
        values = {
            "environment": "local",
            "id": token.split("_")[2],
            "proposal": own,
            # The last change set is an own one, and so is the one before.
            "revision": str(revision - 1),
            "path": "unknown",
            "name": "viewer",
        }
        readers.append(Reader(client=service.stranger, token=token, epoch=epoch, values=values))
    return Filled(other=other, readers=tuple(readers))


def leaks(answers: Mapping[str, Answer]) -> dict[str, str]:
    """Return where answers contain the marker of the other owner, by the request."""
    found = {}
    for name, answer in answers.items():
        seen = unquote(unquote(answer.text + answer.headers))
        place = seen.find(MARKER)
        if place >= 0 and not _only_repeats(f"{name} {answer.sent}", seen):
            found[name] = f"{answer.status} …{seen[max(place - 150, 0) : place + 50]}"
    return found


def _only_repeats(name: str, seen: str) -> bool:
    """Return whether the answer contains only the words that were sent."""
    words = re.compile(rf"{MARKER}[\w/-]*")
    return set(words.findall(seen)) <= {*words.findall(name)}
