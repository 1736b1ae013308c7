"""Streams of a caller whose rights are limited to key prefixes, and of one whose rights change."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from grpc import aio

from app.access.format import token_id
from app.access.guard import TOKENS
from app.access.mac import mac
from app.access.models import Scope
from app.access.sessions.cookie import PLAIN_NAME
from app.configuration.snapshots import limited as parts
from app.configuration.snapshots import snapshot as snapshots
from app.configuration.snapshots.reading import FOLLOWER
from app.http.keys import DATABASE
from app.settings import GrpcAccess
from tests.api.access.limited import CONSOLE, LOCAL, Limited, change, change_theirs, fill, put
from tests.api.flags.grpc_client import Client, serving
from tests.api.sse import Stream, streaming
from tests.conftest import Service
from tests.factories import flag
from tests.people import give, sign_in_person
from tests.waiting import HANG_SECONDS

BULK = f"{LOCAL}/ofrep/v1/evaluate/flags"


@pytest.fixture
async def limited(service: Service) -> Limited:
    await fill(service)
    return await Limited.of(service)


@asynccontextmanager
async def events(limited: Limited, query: str = "", **headers: str) -> AsyncIterator[Stream]:
    shown = {"Authorization": f"Bearer {limited.token}"} | {
        name.replace("_", "-"): value for name, value in headers.items()
    }
    url = f"{LOCAL}/events{query}"
    async with streaming(limited.service.stranger, url, shown, "change", "resync") as stream:
        yield stream


async def regrant(limited: Limited, prefix: str, environment: str = "local") -> None:
    """Give the token another grant, as if it had been created with it."""
    tokens, id_ = limited.service.app[TOKENS], token_id(limited.token) or ""
    grant = replace(
        tokens.usable[id_].grant,
        prefixes=frozenset({prefix}),
        environments=frozenset({environment}),
    )
    async with limited.service.app[DATABASE].connection() as connection:
        await connection.execute(
            "update tokens set prefixes = array[$1], environments = array[$2], mac = $3, "
            "relay_mac = null where id = $4",
            prefix,
            environment,
            mac(tokens.key, limited.token, grant),
            id_,
        )


async def test_events_have_own_keys_alone(limited: Limited) -> None:
    async with events(limited) as stream:
        await change_theirs(limited.service)
        is_silent = await stream.is_silent()
        await change(
            limited.service,
            put("shop/limit", "setting", 6, 2),
            put("z-tresor/more", "setting", 6),
            message="both",
        )
        message = await stream.next()

    assert is_silent
    assert message.data["keys"] == ["shop/limit"]
    assert message.data["message"] == "both"


async def test_prefix_of_a_stream_is_a_part_of_own_keys(limited: Limited) -> None:
    async with events(limited, "?prefix=z-tresor") as stream:
        await change_theirs(limited.service)
        await change(limited.service, put("shop/limit", "setting", 6, 2))

        assert await stream.is_silent()


async def test_missed_events_are_limited_too(
    limited: Limited, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshots, "RECENT_MAX", 1)
    epoch = limited.service.app[FOLLOWER].get("local").epoch
    await change(
        limited.service, put("shop/limit", "setting", 6, 2), put("z-tresor/a", "setting", 1)
    )
    await change_theirs(limited.service)
    revision = await change(limited.service, put("shop/limit", "setting", 7, 3))

    async with events(limited, Last_Event_ID=f"{epoch}:3") as stream:
        messages = [await stream.next(), await stream.next()]
        is_silent = await stream.is_silent()

    assert [message.data["keys"] for message in messages] == [["shop/limit"]] * 2
    assert messages[-1].data["revision"] == revision
    assert is_silent


async def test_change_of_properties_is_an_event_for_all_readers(limited: Limited) -> None:
    async with events(limited) as stream:
        async with limited.service.client.patch(
            LOCAL,
            json={"metadata": {"team": "x"}},
            headers={"If-Match": '"1"', "Content-Type": "application/merge-patch+json"},
        ) as answer:
            assert answer.status == 200, await answer.text()
        message = await stream.next()

    assert (message.data["keys"], message.data["properties"]) == ([], True)


async def test_open_stream_follows_narrower_rights(limited: Limited) -> None:
    async with events(limited) as stream:
        await regrant(limited, "shop/limit")
        resync = await stream.next()
        await change(limited.service, put("shop/more", "setting", 1))
        is_silent = await stream.is_silent()

    assert resync.name == "resync"
    assert is_silent


async def test_open_stream_ends_without_rights(limited: Limited) -> None:
    async with events(limited) as stream:
        await regrant(limited, "shop/", "staging")
        await stream.end()


async def test_evaluation_stream_ignores_flags_of_others(limited: Limited) -> None:
    answer = (await limited.post(BULK, {})).body
    url = answer["eventStreams"][0]["url"]
    async with streaming(limited.service.stranger, url, {}) as stream:
        await stream.next()
        await change_theirs(limited.service)
        is_silent = await stream.is_silent()
        # An own flag uses this segment.
        await change(limited.service, put("common/vip", "segment", {"and": [True]}, 1))
        await stream.next()
        await regrant(limited, "shop/", "staging")
        await stream.end()

    assert is_silent


async def test_streams_wait_for_parts_from_threads(
    limited: Limited, monkeypatch: pytest.MonkeyPatch
) -> None:
    # No part is quick, and no snapshot gets the parts of the one before.
    monkeypatch.setattr(snapshots, "QUICK_ENTRIES", -1)
    monkeypatch.setattr(parts, "USED_SECONDS", -1.0)
    await change_theirs(limited.service)
    url = (await limited.post(BULK, {})).body["eventStreams"][0]["url"]
    async with (
        limited.service.signed_in(limited.token) as browser,
        streaming(browser, f"{CONSOLE}/live", {}, "change") as live,
        streaming(limited.service.stranger, url, {}) as evaluations,
        events(limited) as changes,
    ):
        await evaluations.next()
        await change(
            limited.service,
            put("shop/new", "flag", flag(defaultVariant="on")),
            put("z-tresor/more", "setting", 6),
        )
        heard = [await changes.next(), await live.next()]
        await evaluations.next()

    assert [message.data["keys"] for message in heard] == [["shop/new"]] * 2


async def test_live_page_hears_of_own_changes_alone(limited: Limited) -> None:
    async with (
        limited.service.signed_in(limited.token) as browser,
        streaming(browser, f"{CONSOLE}/live", {}, "change") as stream,
    ):
        await change_theirs(limited.service)
        is_silent = await stream.is_silent()
        await change(
            limited.service,
            put("shop/limit", "setting", 6, 2),
            put("z-tresor/more", "setting", 6),
        )
        message = await stream.next()

    assert is_silent
    assert (message.data["keys"], message.data["is_cut"]) == (["shop/limit"], False)


async def test_sync_stream_has_own_flags_alone(limited: Limited) -> None:
    async with (
        serving(limited.service, access=GrpcAccess.BEARER) as (settings, component),
        aio.insecure_channel(f"127.0.0.1:{settings.port}") as channel,
    ):
        client = Client(channel, authorization=f"Bearer {limited.token}")
        stream = client.stream()
        first = await _next(stream)
        fetched = await client.fetch()
        waiting = asyncio.create_task(_next(stream))
        await change_theirs(limited.service)
        done, _ = await asyncio.wait([waiting], timeout=0.6)
        await change(limited.service, put("shop/new", "flag", flag(defaultVariant="on")))
        second = await waiting
        families = {family.name: family for family in component.metrics()}
        await regrant(limited, "shop/banner")
        with pytest.raises(aio.AioRpcError) as ended:
            await _next(stream)

    assert first == fetched
    assert not done
    assert set(json.loads(first)["flags"]) == {"shop/banner"}
    assert set(json.loads(second)["flags"]) == {"shop/banner", "shop/new"}
    (streams,) = families["flagstone_flagd_sync_streams"].samples
    assert (streams.labels, streams.value) == ({"environment": "local"}, 1)
    assert ended.value.code().name == "PERMISSION_DENIED"


async def test_sync_streams_of_two_teams_do_not_mix(service: Service) -> None:
    await fill(service)
    others = await Limited.of(service, Scope.READ, prefixes=("common/",))
    mine = await Limited.of(service, Scope.READ)
    async with (
        serving(service, access=GrpcAccess.BEARER) as (settings, _),
        aio.insecure_channel(f"127.0.0.1:{settings.port}") as channel,
    ):
        clients = [Client(channel, authorization=f"Bearer {who.token}") for who in (mine, others)]
        documents = [json.loads(await _next(client.stream())) for client in clients]

    assert [set(document["flags"]) for document in documents] == [
        {"shop/banner"},
        {"common/switch"},
    ]


async def _next(stream: Any) -> str:
    async with asyncio.timeout(HANG_SECONDS):
        message = await stream.read()
    if message is aio.EOF:
        # Raises the status of the stream.
        await stream.code()
        raise AssertionError("the stream has ended")
    document: str = message.flag_configuration
    return document


async def test_live_page_follows_the_grants_of_its_person(service: Service) -> None:
    await fill(service)
    asha = await sign_in_person(service)
    grants = [
        await give(service, asha.person, "viewer", environments=("local",), prefix=prefix)
        for prefix in ("shop/", "z-tresor/")
    ]
    headers = {"Cookie": f"{PLAIN_NAME}={asha.text}"}
    async with streaming(service.stranger, f"{CONSOLE}/live", headers, "change") as stream:
        await change(service, put("z-tresor/one", "setting", 1))
        heard = await stream.next()
        await _revoke(service, grants[1].id)
        await change(service, put("z-tresor/two", "setting", 1))
        is_silent = await stream.is_silent()
        await change(service, put("shop/more", "setting", 1))
        own = await stream.next()
        await _revoke(service, grants[0].id)
        await stream.end()

    assert heard.data["keys"] == ["z-tresor/one"]
    assert is_silent
    assert own.data["keys"] == ["shop/more"]


async def _revoke(service: Service, grant: str) -> None:
    query = {"reason": "Left the team."}
    async with service.client.delete(f"/v1/grants/{grant}", params=query) as answer:
        assert answer.status in {200, 204}, await answer.text()
