"""A relay answers as the service that it follows."""

import asyncio
import base64
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession

from app.access.guard import TOKENS
from app.access.models import Scope
from app.configuration.snapshots.follower import Follower
from app.http.keys import LIFECYCLE
from app.relay.feed import Feed
from app.relay.source import CircleError
from tests.api.relay.conftest import Chain
from tests.api.relay.relays import Gate, Relay, bearer, put, relaying
from tests.api.sse import streaming
from tests.conftest import Service
from tests.factories import flag
from tests.waiting import HANG_SECONDS, until

LOCAL = "/v1/environments/local"
EVENTS = f"{LOCAL}/events"
CONTEXT = {"context": {"targetingKey": "asha", "plan": "pro"}}
SPLIT = flag(
    defaultVariant="off", targeting={"fractional": [["on", 50], ["off", 50]]}, metadata={"n": 1.0}
)


async def put_flag(client: ClientSession, key: str, definition: dict[str, Any]) -> int:
    body = {"kind": "flag", "value": definition}
    path = f"{LOCAL}/configurations/{key}"
    async with client.put(path, json=body, headers={"If-None-Match": "*"}) as answer:
        assert answer.status == 201, await answer.text()
        revision: int = (await answer.json())["revision"]
        return revision


READS = [
    ("GET", f"{LOCAL}/configurations/retries", None),
    ("GET", f"{LOCAL}/configurations", None),
    ("GET", f"{LOCAL}/flags.json", None),
    ("GET", LOCAL, None),
    ("GET", f"{LOCAL}/export", None),
    ("POST", f"{LOCAL}/ofrep/v1/evaluate/flags/split", CONTEXT),
]


@pytest.mark.parametrize(("method", "path", "body"), READS)
async def test_read_at_a_relay_of_a_relay_is_the_same(
    service: Service, chain: Chain, method: str, path: str, body: Any
) -> None:
    await put(service.client, "retries", {"a": 1.0, "b": [1, 2**50]})
    revision = await put_flag(service.client, "split", SPLIT)
    await chain.second.reach("local", revision)
    answers = []
    for client in (service.client, chain.first.client, chain.second.client):
        async with client.request(
            method, path, json=body, headers=bearer(service.admin_token)
        ) as answer:
            tags = [answer.headers.get(name) for name in ("ETag", "Flagstone-Revision")]
            answers.append((answer.status, tags, await answer.read()))

    assert answers[0][0] == 200
    assert answers[1] == answers[2] == answers[0]


async def test_bulk_evaluation_has_the_same_etag(service: Service, chain: Chain) -> None:
    revision = await put_flag(service.client, "split", SPLIT)
    path, tags = f"{LOCAL}/ofrep/v1/evaluate/flags", []
    await chain.second.reach("local", revision)
    async with service.client.post(path, json=CONTEXT) as answer:
        tags.append(answer.headers["ETag"])
        flags = (await answer.json())["flags"]
    headers = bearer(service.admin_token)
    async with chain.second.client.post(path, json=CONTEXT, headers=headers) as answer:
        tags.append(answer.headers["ETag"])
        assert (await answer.json())["flags"] == flags
    headers["If-None-Match"] = tags[0]
    async with chain.second.client.post(path, json=CONTEXT, headers=headers) as answer:
        assert answer.status == 304

    assert tags[0] == tags[1]


async def test_stream_at_a_relay_has_the_same_events(service: Service, chain: Chain) -> None:
    token = service.admin_token
    async with (
        streaming(service.client, EVENTS, {}, "change") as core,
        streaming(chain.second.client, EVENTS, bearer(token), "change") as edge,
    ):
        await put(service.client, "retries", 1)
        first = await core.next(), await edge.next()
    await put(service.client, "retries", 2)
    headers = {**bearer(token), "Last-Event-ID": first[1].id}
    async with streaming(chain.second.client, EVENTS, headers, "change") as edge:
        second = await edge.next()

    assert first[0] == first[1]
    assert second.data["revision"] == first[1].data["revision"] + 1


async def test_all_kinds_of_changes_reach_a_relay(service: Service, chain: Chain) -> None:
    """Also a deletion, properties, and a segment that many flags use."""
    await put(service.client, "gone", 1)
    segment = {"kind": "segment", "value": {"in": [{"var": "plan"}, ["pro"]]}}
    when = {"if": [{"$ref": "pros"}, "on", "off"]}
    async with service.client.get(f"{LOCAL}/configurations/gone") as answer:
        etag = answer.headers["ETag"]
    async with service.client.delete(
        f"{LOCAL}/configurations/gone", headers={"If-Match": etag}
    ) as answer:
        assert answer.status == 200
    async with service.client.put(
        f"{LOCAL}/configurations/pros", json=segment, headers={"If-None-Match": "*"}
    ) as answer:
        assert answer.status == 201, await answer.text()
    revision = await put_flag(service.client, "f", flag(defaultVariant="off", targeting=when))
    await chain.second.reach("local", revision)
    snapshots = [relay.source.get("local") for relay in chain]

    assert [s.digest for s in snapshots] == [snapshots[0].digest] * 2
    assert "gone" not in snapshots[1].entries
    assert chain.second.source.fetches["full"] == len(chain.second.source.loaded())


async def put_many(service: Service) -> int:
    """Put 1,200 entries. Return the revision."""
    revision = 0
    for part in ("a", "b", "c"):
        operations = [
            {"op": "put", "key": f"{part}/{n}", "version": 0, "value": n} for n in range(400)
        ]
        async with service.client.post(
            f"{LOCAL}/changes", json={"operations": operations}
        ) as answer:
            assert answer.status == 200, await answer.text()
            revision = (await answer.json())["change_sets"][0]["revision"]
    return revision


async def test_large_environment_is_digested_before_its_state(
    service: Service, idle_follower: Follower, relay_token: str
) -> None:
    await put_many(service)
    await idle_follower.refresh()
    feed = Feed(idle_follower, service.app[TOKENS])
    rights = service.app[TOKENS].authenticate(relay_token).rights
    is_prepared = feed.is_prepared(rights)
    await feed.prepare(rights)

    assert (is_prepared, feed.is_prepared(rights)) == (False, True)


async def test_large_environment_is_read_in_pages(
    service: Service, chain: Chain, relay_token: str, tmp_path: Path
) -> None:
    revision = await put_many(service)
    await chain.second.reach("local", revision)
    async with relaying(chain.second.url, relay_token, tmp_path / "new") as new:
        snapshots = [relay.source.get("local") for relay in (*chain, new)]

    assert {len(snapshot.entries) for snapshot in snapshots} == {1_200}
    assert len({snapshot.digest for snapshot in snapshots}) == 1
    assert chain.second.source.fetches["changes"] > 0


async def test_write_at_a_relay_names_the_upstream(service: Service, chain: Chain) -> None:
    relay, headers = chain.first, bearer(service.admin_token)
    path = f"{LOCAL}/configurations/retries"
    async with relay.client.put(path, json={"value": 1}, headers=headers) as answer:
        problem = await answer.json()
    async with relay.client.put(path, json={"value": 1}) as stranger:
        assert stranger.status == 401

    assert (answer.status, problem["code"]) == (421, "relay_cannot")
    assert problem["upstream"] == service.url


@pytest.mark.parametrize(
    "path",
    [
        f"{LOCAL}/configurations?revision=1",
        f"{LOCAL}/configurations/k/history",
        f"{LOCAL}/configurations/k?reveal=true",
        f"{LOCAL}/export?reveal=true",
        f"{LOCAL}/changes",
        f"{LOCAL}/flags/usage",
        f"{LOCAL}?at=2026-01-01T00:00:00Z",
        "/v1/tokens",
        "/v1/access-log",
    ],
)
async def test_read_of_the_history_is_misdirected(
    service: Service, chain: Chain, path: str
) -> None:
    assert await chain.first.status(path, service.admin_token) == 421


async def test_secret_is_masked_at_a_relay(service: Service, chain: Chain) -> None:
    body = {"kind": "secret", "value": "hunter2hunter2"}
    path = f"{LOCAL}/configurations/password"
    async with service.client.put(path, json=body, headers={"If-None-Match": "*"}) as answer:
        revision = (await answer.json())["revision"]
    await chain.second.reach("local", revision)
    async with chain.second.client.get(path, headers=bearer(service.admin_token)) as answer:
        entry = await answer.json()

    assert (entry["value"], entry["sealed"]) == (None, True)


async def test_relay_of_one_environment_gets_nothing_else(service: Service, tmp_path: Path) -> None:
    token = await service.token(Scope.RELAY, environments=("staging",))
    own = await service.token(Scope.READ, environments=("staging",))
    other = await service.token(Scope.READ, environments=("local",))
    async with relaying(service.url, token, tmp_path) as relay:
        statuses = [
            await relay.status("/v1/environments/staging", own),
            await relay.status("/v1/environments/local", service.admin_token),
            await relay.status("/v1/environments/local", other),
        ]

        assert set(relay.source.loaded()) == {"staging"}
        assert statuses == [200, 404, 401]


async def test_feed_needs_the_scope_relay(service: Service) -> None:
    for path in ("state", "states", "tokens", "environments/local"):
        async with service.client.get(f"/relay/v1/{path}") as answer:
            assert answer.status == 403


async def test_status_page_asks_for_a_token(service: Service, relay: Relay) -> None:
    async with relay.client.get("/console") as answer:
        assert answer.status == 401
        assert answer.headers["WWW-Authenticate"].startswith("Basic")
    token = await service.token(Scope.READ, environments=("staging",))

    async def is_shown() -> bool:
        return await relay.status("/v1/environments/staging", token) == 200

    await until(is_shown)
    basic = base64.b64encode(f":{token}".encode()).decode()
    headers = {"Authorization": f"Basic {basic}"}
    async with relay.client.get("/console", headers=headers) as answer:
        text = await answer.text()

    assert answer.status == 200
    assert "staging" in text
    assert "production" not in text


async def test_relays_that_follow_each_other_refuse_to_start(
    relay_token: str, gate: Gate, tmp_path: Path
) -> None:
    await gate.close()
    async with relaying(gate.url, relay_token, tmp_path / "1", starts=False) as first:
        gate.upstream = first.url
        async with relaying(first.url, relay_token, tmp_path / "2", starts=False) as second:
            gate.upstream = second.url
            await gate.open()
            stops = [
                asyncio.create_task(relay.app[LIFECYCLE].stopping.wait())
                for relay in (first, second)
            ]
            done, _ = await asyncio.wait(
                stops, timeout=HANG_SECONDS, return_when=asyncio.FIRST_COMPLETED
            )
            failures = [relay.app[LIFECYCLE].failure for relay in (first, second)]
            for stop in stops:
                stop.cancel()

    assert done
    assert any(isinstance(failure, CircleError) for failure in failures)


async def test_relay_that_follows_itself_refuses_to_start(
    relay_token: str, gate: Gate, tmp_path: Path
) -> None:
    async with relaying(gate.url, relay_token, tmp_path, starts=False) as relay:
        gate.upstream = relay.url
        stopping = relay.app[LIFECYCLE].stopping
        await asyncio.wait_for(stopping.wait(), HANG_SECONDS)
        failure = relay.app[LIFECYCLE].failure

        assert isinstance(failure, CircleError)
        assert "leads back to this relay" in str(failure)
