"""The event stream of proposals: order, visibility, resumption, and the end of a revoked token."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from app.access.guard import TOKENS
from app.access.models import Scope
from tests.api.configuration.proposal_calls import PROPOSALS, Person, person, put
from tests.api.sse import Stream
from tests.conftest import Service
from tests.waiting import HANG_SECONDS

EVENTS = PROPOSALS + "/events"


@pytest.fixture
async def author(service: Service) -> Person:
    return await person(service)


@asynccontextmanager
async def _stream(someone: Person, **headers: str) -> AsyncIterator[Stream]:
    headers = {"X-API-Key": someone.token} | {k.replace("_", "-"): v for k, v in headers.items()}
    async with someone.service.stranger.get(EVENTS, headers=headers) as answer:
        assert answer.status == 200
        yield Stream(answer, frozenset({"proposal"}))


async def _names(stream: Stream, count: int) -> list[str]:
    return [(await stream.next()).data["event"] for _ in range(count)]


async def test_stream_sends_what_happens_to_a_proposal(author: Person) -> None:
    async with _stream(author) as stream:
        proposal = await author.propose(put("a", 1))
        await author.act(proposal, "comment", text="private to the conversation")
        await author.act(proposal, "apply")
        messages = [await stream.next() for _ in range(4)]

    assert [message.data["event"] for message in messages] == [
        *("created", "submitted", "commented", "applied")
    ]
    assert {message.data["proposal"] for message in messages} == {proposal["id"]}
    assert messages[-1].data["state"] == "applied"
    assert messages[-1].id == f"proposals:{messages[-1].data['id']}"
    assert not any("private" in str(message.data) for message in messages)


async def test_stream_resumes_after_the_last_event(author: Person) -> None:
    async with _stream(author) as stream:
        proposal = await author.propose(put("a", 1))
        first = await stream.next()
    await author.act(proposal, "withdraw")

    async with _stream(author, Last_Event_ID=first.id) as stream:
        assert await _names(stream, 2) == ["submitted", "withdrawn"]


async def test_stream_shows_only_the_environments_of_the_token(
    service: Service, author: Person
) -> None:
    someone = await person(service, Scope.READ, environments=("staging",))

    async with _stream(someone) as stream:
        await author.propose(put("a", 1), environment="production")
        shown = await author.propose(put("a", 1), put("a", 1, environment="production"))
        message = await stream.next()

    assert message.data["proposal"] == shown["id"]
    assert message.data["environments"] == ["staging"]


async def test_stream_of_a_revoked_token_ends(service: Service, author: Person) -> None:
    async with _stream(author) as stream:
        await service.revoke(author.token)
        await service.app[TOKENS].refresh()

        await stream.end()


async def test_streams_get_concurrent_events_in_one_order(service: Service, author: Person) -> None:
    proposals = [await author.propose(put(f"k{number}", 1)) for number in range(8)]
    other = await person(service)

    async def received(stream: Stream) -> list[Any]:
        return [(await stream.next()).data["id"] for _ in range(16)]

    async with _stream(author) as first, _stream(other) as second:
        reading = asyncio.gather(received(first), received(second))
        await asyncio.gather(
            *(other.act(each, "comment", text="one") for each in proposals),
            *(author.act(each, "comment", text="two") for each in proposals),
        )
        async with asyncio.timeout(HANG_SECONDS):
            ids = await reading

    assert ids[0] == sorted(ids[0]) == ids[1]


async def test_malformed_id_is_refused(author: Person) -> None:
    refused = await author.call("GET", EVENTS, Last_Event_ID="x")

    assert (refused.status, refused.body["code"]) == (400, "request_malformed")
