"""No answer to a caller of some keys contains anything of another key, and none depends on one.

The requests come from the tables of routes and pages, so a new one is tested automatically.
"""

import asyncio
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote_plus, unquote

import pytest

from app.access.models import Scope
from app.configuration.snapshots.reading import FOLLOWER
from tests.api.access.readers import (
    CLOSED,
    REQUESTS,
    Request,
    name_of,
    pages,
    reads,
    requests_of,
    requests_of_page,
)
from tests.api.access.two_owners import MARKER, OTHER, OWN, PADDING, Owner, fill
from tests.conftest import Service

SCOPES = (Scope.READ, Scope.EVALUATE, Scope.REVEAL, Scope.WRITE, Scope.APPROVE, Scope.ADMIN)
STREAM_SECONDS = 0.3
REQUEST_ID = "0" * 26
# The time of the answer, its length, and the time at which its ETag was first given.
_OTHER_HEADERS = frozenset({"Date", "Content-Length", "Last-Modified"})
# What differs between equal requests: times, and the number of evaluations, which they are part of.
_VARYING = re.compile(
    r"\d{4}-\d\d-\d\d(?:T|\s)(?:[\d:.]|%3A)+(?:Z|[+-]\d\d:?\d\d)?"
    r"|\w{3}, \d\d \w{3} \d{4} [\d:]+ GMT|\d+ (?:second|minute)s? ago|just now"
    r"|\b\d{10}(?:\.\d+)?\b|Evaluated \d+ times"
)


@dataclass(frozen=True, kw_only=True)
class Answer:
    status: int
    text: str
    headers: str


class Reader:
    """Sends all requests that read, with a token. `values` fill in the paths."""

    def __init__(self, service: Service, token: str, values: Mapping[str, str], epoch: str) -> None:
        self._service, self._token, self.values, self._epoch = service, token, values, epoch

    async def get(self, request: Request) -> Answer:
        stream = "proposals" if "proposals" in request.path else self._epoch
        headers = {
            "X-API-Key": self._token,
            "X-Request-ID": REQUEST_ID,
            "Last-Event-ID": f"{stream}:0",
        }
        async with self._service.stranger.request(
            request.method, request.url, json=request.body, headers=headers, allow_redirects=False
        ) as answer:
            if answer.content_type == "text/event-stream":
                content = bytearray()
                with suppress(TimeoutError):
                    async with asyncio.timeout(STREAM_SECONDS):
                        async for line in answer.content:
                            content += line
                text = content.decode()
            else:
                text = (await answer.read()).decode(errors="replace")
            shown = {n: v for n, v in answer.headers.items() if n not in _OTHER_HEADERS}
            return Answer(status=answer.status, text=text, headers=str(shown))

    def requests(self, prefix: str = OWN) -> Iterable[Request]:
        for route in reads():
            if name_of(route) in REQUESTS:
                yield from requests_of(route, self.values, prefix)
        for page in pages():
            yield from requests_of_page(page, self.values, prefix)

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


@pytest.fixture
async def filled(service: Service) -> Filled:
    other = await fill(service)
    async with service.client.get("/v1/proposals?environment=local") as answer:
        proposals = (await answer.json())["items"]
    own = next(str(item["id"]) for item in proposals if item["title"] == "own title")
    async with service.client.get("/v1/environments/local") as answer:
        epoch = (await answer.json())["epoch"]
    readers = []
    for environments in (("local", "staging"), ("local",)):
        token = await service.token(*SCOPES, environments=environments, prefixes=(OWN,))
        values = {
            "environment": "local",
            "id": token.split("_")[2],
            "proposal": own,
            # Of an own change set that is not the last one.
            "revision": str(PADDING),
            "path": "unknown",
            "name": "viewer",
        }
        readers.append(Reader(service, token, values, epoch))
    return Filled(other=other, readers=tuple(readers))


async def _revisions(service: Service) -> list[int]:
    async with service.client.get("/v1/environments") as answer:
        return [item["revision"] for item in (await answer.json())["items"]]


def test_every_read_is_tried_or_closed() -> None:
    """A new route needs a line in readers.py."""
    unknown = [name_of(route) for route in reads() if name_of(route) not in {*REQUESTS, *CLOSED}]
    opened = [name_of(route) for route in reads() if route.by_key and name_of(route) in CLOSED]

    assert unknown == []
    assert opened == []
    assert {*REQUESTS, *CLOSED} <= {name_of(route) for route in reads()}


async def test_answers_contain_nothing_of_other_keys(filled: Filled) -> None:
    leaks: dict[str, str] = {}
    for reader in filled.readers:
        for name, answer in (await reader.all()).items():
            seen = unquote(unquote(answer.text + answer.headers))
            place = seen.find(MARKER)
            if place >= 0 and not _only_repeats(name, seen):
                leaks[name] = f"{answer.status} …{seen[max(place - 150, 0) : place + 50]}"

    assert not leaks, _lines(leaks)


# The console leads on, and it answers any other path.
_ANSWERED = {200, 303, 404}


async def test_every_open_route_and_page_answers(filled: Filled) -> None:
    """Otherwise the test of leaks would see errors only."""
    statuses: dict[str, set[int]] = {}
    for reader in filled.readers:
        for request in reader.requests():
            found = statuses.setdefault(request.template, set())
            found.add((await reader.get(request)).status)
    by_key = {name_of(route) for route in reads() if route.by_key}
    by_key |= {name_of(page) for page in pages() if page.by_key}

    wrong = {
        name: found
        for name, found in statuses.items()
        if (name in by_key and not found & _ANSWERED) or (name not in by_key and found != {403})
    }
    assert not wrong, _lines(wrong)


async def test_answers_do_not_depend_on_other_keys(service: Service, filled: Filled) -> None:
    before = [await reader.all() for reader in filled.readers]
    revisions = await _revisions(service)
    for environment in ("local", "staging"):
        await filled.other.fill(environment, "-more")
    await service.app[FOLLOWER].refresh()
    after = [await reader.all() for reader in filled.readers]
    revisions += await _revisions(service)

    differing = {
        name: (comparable(answer, revisions), comparable(second[name], revisions))
        for first, second in zip(before, after, strict=True)
        for name, answer in first.items()
        if comparable(answer, revisions) != comparable(second[name], revisions)
    }
    assert not differing, _lines({n: _difference(*texts) for n, texts in differing.items()})


# From a foreign key that exists to one that does not.
_RENAMED = OTHER, f"{OTHER}missing/"
_QUOTED = quote_plus(OTHER), quote_plus(f"{OTHER}missing/")


async def test_foreign_key_is_refused_whether_it_exists_or_not(filled: Filled) -> None:
    reader = filled.readers[1]
    unlike = {}
    for request in reader.requests(OTHER):
        if OTHER in request.path:
            known = await reader.get(request)
            unknown = await reader.get(replace(request, path=request.path.replace(*_RENAMED)))
            expected = known.text.replace(*_RENAMED).replace(*_QUOTED)
            if not known.status == unknown.status == 403 or expected != unknown.text:
                texts = (known.status, expected), (unknown.status, unknown.text)
                unlike[request.name] = _difference(*texts)

    assert not unlike, _lines(unlike)


def comparable(answer: Answer, revisions: Iterable[int]) -> tuple[int, str]:
    """Return an answer without times and the revision, which every reader of it may see."""
    numbers = "|".join(map(str, revisions))
    text = _VARYING.sub("", answer.text + answer.headers)
    return answer.status, re.sub(rf"\b(?:{numbers})\b", "", text)


def _lines(problems: Mapping[str, Any]) -> str:
    return "".join(f"\n{name}: {problem}" for name, problem in problems.items())


def _difference(first: tuple[int, str], second: tuple[int, str]) -> Any:
    """Return where two answers begin to differ."""
    one, two = first[1], second[1]
    start = next((n for n, (a, b) in enumerate(zip(one, two, strict=False)) if a != b), 0)
    around = slice(max(start - 100, 0), start + 80)
    return first[0], second[0], one[around], two[around]


def _only_repeats(name: str, seen: str) -> bool:
    """Return whether the answer contains only the words that were sent."""
    words = re.compile(rf"{MARKER}[\w/-]*")
    return set(words.findall(seen)) <= {*words.findall(name)}
