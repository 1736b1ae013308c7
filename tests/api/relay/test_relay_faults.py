"""A relay whose upstream is away, wrong or replaced continues to serve what it has."""

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
import trustme
from aiohttp import web
from aiohttp.test_utils import TestServer

from app.access.models import Scope
from app.configuration.snapshots.disk_copy import DiskCopy
from app.database import sql
from app.errors import Unavailable
from app.http.keys import DATABASE, LIFECYCLE
from app.relay import source as relay_source
from app.relay.client import AWAY, UNFIT, UpstreamClient
from app.relay.path import RelayPath
from app.relay.protocol import STATE
from app.relay.usage import CLIENT
from app.server.components import COMPONENTS
from app.settings import load
from tests.api.relay.conftest import Chain
from tests.api.relay.relays import Gate, Relay, bearer, gated, put, relaying
from tests.conftest import Service
from tests.waiting import HANG_SECONDS, until

LOCAL = "/v1/environments/local"
KEY = f"{LOCAL}/configurations/retries"


def a_client(url: str, token: str) -> UpstreamClient:
    settings = load({"RELAY_UPSTREAM": url, "RELAY_TOKEN": token}).relay
    return UpstreamClient(settings, RelayPath())


async def written_to_disk(relay: Relay) -> None:
    keepers = [part for part in relay.app[COMPONENTS] if isinstance(part, DiskCopy)]
    await keepers[0].run_once()


async def has_problem(relay: Relay) -> None:
    async def is_away() -> bool:
        return relay.source.problem is not None

    await until(is_away)


async def is_well_again(relay: Relay) -> None:
    async def is_well() -> bool:
        return relay.source.problem is None and relay.source.has_all()

    await until(is_well)


async def test_relay_serves_while_its_upstream_is_away(
    service: Service, gate: Gate, relay: Relay
) -> None:
    await relay.reach("local", await put(service.client, "retries", 1))
    await gate.close()
    await has_problem(relay)
    relay.source.adopt(dict(relay.source.loaded()), confirmed_at=-100.0)
    async with relay.client.get(KEY, headers=bearer(service.admin_token)) as answer:
        assert (answer.status, (await answer.json())["value"]) == (200, 1)
        assert int(answer.headers["Flagstone-Stale"]) > 100
    async with relay.client.get("/health/ready") as answer:
        assert (answer.status, (await answer.json())["status"]) == (200, "warn")
    revision = await put(service.client, "retries", 2)
    await gate.open()
    await relay.reach("local", revision)
    await is_well_again(relay)

    async with relay.client.get(KEY, headers=bearer(service.admin_token)) as answer:
        assert "Flagstone-Stale" not in answer.headers


async def test_relay_starts_from_disk_while_its_upstream_is_away(
    service: Service, relay_token: str, tmp_path: Path
) -> None:
    revoked = await service.token(Scope.READ)
    await put(service.client, "retries", 1)
    async with gated(service.url) as gate:
        async with relaying(gate.url, relay_token, tmp_path) as relay:
            assert await relay.status(KEY, revoked) == 200
            await service.revoke(revoked)

            async def is_refused() -> bool:
                return await relay.status(KEY, revoked) == 401

            await until(is_refused)
            await written_to_disk(relay)
        await gate.close()
        async with relaying(gate.url, relay_token, tmp_path, starts=False) as relay:
            await asyncio.wait_for(relay.app[LIFECYCLE].serving.wait(), HANG_SECONDS)
            statuses = [await relay.status(KEY, t) for t in (service.admin_token, revoked)]
            async with relay.client.get("/health/ready") as answer:
                assert answer.status == 200
            await gate.open()
            await is_well_again(relay)

    assert statuses == [200, 401]


async def test_relay_without_disk_waits_for_its_upstream(
    service: Service, relay_token: str, tmp_path: Path
) -> None:
    async with gated(service.url) as gate:
        await gate.close()
        async with relaying(gate.url, relay_token, tmp_path, starts=False) as relay:
            await has_problem(relay)
            assert await relay.status(KEY, service.admin_token) == 503
            async with relay.client.get("/health/ready") as answer:
                assert answer.status == 503
            await gate.open()
            await asyncio.wait_for(relay.app[LIFECYCLE].started.wait(), HANG_SECONDS)

            assert await relay.status(LOCAL, service.admin_token) == 200


def cut_in_half(path: str, part: bytes) -> bytes | None:
    return None if "/environments/" in path else part


def garbage(path: str, part: bytes) -> bytes | None:
    return b"\xff{[" * 9 if "/environments/" in path else part


def other_value(path: str, part: bytes) -> bytes | None:
    return part.replace(b'"value":2', b'"value":3') if "/environments/" in path else part


def other_environment(path: str, part: bytes) -> bytes | None:
    return part.replace(b'"local"', b'"other"') if "/environments/" in path else part


def other_format(path: str, part: bytes) -> bytes | None:
    return part.replace(b'"format":1', b'"format":2') if "/state" in path else part


@pytest.mark.slow
@pytest.mark.parametrize(
    "change", [cut_in_half, garbage, other_value, other_environment, other_format]
)
async def test_relay_never_serves_a_broken_answer(
    service: Service,
    gate: Gate,
    relay: Relay,
    change: Callable[[str, bytes], bytes | None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("app.relay.protocol.PUSHED_KEYS_MAX", -1)
    first = await put(service.client, "retries", 1)
    await relay.reach("local", first)
    gate.change = change
    revision = await put(service.client, "retries", 2)
    await has_problem(relay)
    while_broken = relay.source.get("local").revision
    gate.change = lambda _, part: part
    await relay.reach("local", revision)
    await is_well_again(relay)

    assert while_broken == first
    async with relay.client.get(KEY, headers=bearer(service.admin_token)) as answer:
        assert (await answer.json())["value"] == 2


async def test_pushed_update_without_its_digest_is_fetched(
    service: Service, gate: Gate, relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A poll would fetch what is to be pushed.
    monkeypatch.setattr(relay_source, "POLL_SECONDS", HANG_SECONDS)
    gate.change = lambda path, part: (
        part.replace(b'"value":2', b'"value":3') if "/states" in path else part
    )
    await relay.reach("local", await put(service.client, "retries", 1))
    await relay.reach("local", await put(service.client, "retries", 2))

    async with relay.client.get(KEY, headers=bearer(service.admin_token)) as answer:
        assert (await answer.json())["value"] == 2
    assert relay.source.fetches["pushed"] == 1
    assert relay.source.fetches["changes"] == 1


async def test_answer_over_the_limit_is_not_read(
    service: Service, relay_token: str, tmp_path: Path
) -> None:
    await put(service.client, "large", ["a" * 100_000])
    variables = {
        "RELAY_UPSTREAM": service.url,
        "RELAY_TOKEN": relay_token,
        "DATA_DIR": str(tmp_path),
    }
    settings = replace(load(variables).relay, answer_bytes_max=50_000)
    client = UpstreamClient(settings, RelayPath())

    async def read() -> None:
        async with client.update("local", "") as lines:
            async for _ in lines:
                pass

    with pytest.raises(Unavailable) as raised:
        await read()
    await client.close()

    assert raised.value.code == UNFIT
    assert "RELAY_ANSWER_MAX_MIB" in raised.value.message


async def test_error_page_of_a_proxy_means_away(relay_token: str) -> None:
    async def refuse(_: web.Request) -> web.Response:
        return web.Response(status=502, body=b"\xff" * 100_000)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", refuse)
    async with TestServer(app) as proxy:
        client = a_client(str(proxy.make_url("/")).rstrip("/"), relay_token)
        with pytest.raises(Unavailable) as raised:
            await client.send_usage(b"{}", "0" * 32)
        await client.close()

    assert raised.value.code == AWAY
    assert "502" in raised.value.message


async def test_usage_of_a_foreign_environment_is_not_sent_again(service: Service) -> None:
    token = await service.token(Scope.RELAY, environments=("staging",))
    client = a_client(service.url, token)
    with pytest.raises(Unavailable) as raised:
        await client.send_usage(b'{"counts": [["local", "f", "STATIC", "on", 1]]}', "0" * 32)
    await client.close()

    assert raised.value.code == UNFIT


async def test_usage_refused_above_a_relay_is_not_sent_again(chain: Chain) -> None:
    """The service refuses another batch with the same key, at the first relay."""
    client = chain.second.app[CLIENT]
    await client.send_usage(b'{"counts": [["local", "f", "STATIC", "on", 1]]}', "0" * 32)
    with pytest.raises(Unavailable) as raised:
        await client.send_usage(b'{"counts": [["local", "f", "STATIC", "on", 2]]}', "0" * 32)

    assert raised.value.code == UNFIT


@pytest.mark.parametrize(
    ("url", "code", "words"),
    [
        ("http://127.0.0.1:9", AWAY, "cannot be reached: connection refused"),
        ("https://{service}", AWAY, "RELAY_CA"),
        ("{service}/missing", UNFIT, "no Flagstone that feeds relays"),
    ],
)
async def test_wrong_upstream_is_named_in_words(
    service: Service, relay_token: str, url: str, code: str, words: str
) -> None:
    host = service.url.removeprefix("http://")
    url = url.format(service=host if url.startswith("https") else service.url)
    client = a_client(url, relay_token)
    with pytest.raises(Unavailable) as raised:
        await client.state()
    await client.close()

    assert raised.value.code == code
    assert words in raised.value.message.lower() or words in raised.value.message
    assert "Error" not in raised.value.message


async def test_certificate_of_the_upstream_must_be_trusted(
    service: Service, relay_token: str, tmp_path: Path
) -> None:
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    ca = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(ca))
    async with gated(service.url, context) as gate:
        given = {"RELAY_UPSTREAM": gate.url, "RELAY_TOKEN": relay_token}
        trusting = UpstreamClient(load(given | {"RELAY_CA": str(ca)}).relay, RelayPath())
        other = UpstreamClient(load(given).relay, RelayPath())
        state = await trusting.state()
        with pytest.raises(Unavailable, match="certificate that is not trusted"):
            await other.state()
        await trusting.close()
        await other.close()

    assert "local" in state.environments


async def test_new_epoch_is_read_in_full(service: Service, relay: Relay) -> None:
    await relay.reach("local", await put(service.client, "retries", 1))
    before = relay.source.get("local")
    async with service.app[DATABASE].connection() as connection:
        await sql.renew_epoch(connection, environment="local", epoch=before.epoch)

    async def is_new() -> bool:
        return relay.source.get("local").epoch != before.epoch

    await until(is_new)

    assert relay.source.get("local").entries.keys() == before.entries.keys()
    counts = {
        sample.labels["environment"]: sample.value
        for metric in relay.source.metrics()
        for sample in metric.samples
        if sample.name == "flagstone_history_replacements_total"
    }
    assert {name: count for name, count in counts.items() if count} == {"local": 1}
    assert counts.keys() == relay.source.loaded().keys()


async def test_older_database_is_followed_after_a_while(
    service: Service, relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The relay has a later revision of the same epoch, which the upstream does not have."""
    revision = await put(service.client, "retries", 1)
    await relay.reach("local", revision)
    known = relay.source.get("local")
    ahead = msgspec.structs.replace(known.environment, revision=revision + 5)
    later = known.advanced(ahead, ())
    relay.source.adopt({**relay.source.loaded(), "local": later}, confirmed_at=0.0)
    await relay.source.refresh()
    at_first = relay.source.get("local").revision
    monkeypatch.setattr(relay_source, "GO_BACK_SECONDS", 0.0)
    await relay.source.refresh()

    assert (at_first, relay.source.get("local").revision) == (revision + 5, revision)


async def test_late_answer_to_a_poll_is_not_used(
    service: Service, gate: Gate, relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stream has brought a later state while the answer was on its way."""
    monkeypatch.setattr(relay_source, "GO_BACK_SECONDS", 0.0)
    await relay.reach("local", await put(service.client, "retries", 1))
    gate.held[STATE] = asyncio.Event()
    poll = asyncio.create_task(relay.source.refresh())

    async def is_on_its_way() -> bool:
        return STATE in gate.waiting

    await until(is_on_its_way)
    await relay.reach("local", await put(service.client, "retries", 2))
    before = dict(relay.source.fetches)
    gate.held[STATE].set()
    await poll

    assert relay.source.has_all()
    assert relay.source.fetches == before


async def test_concurrent_refreshes_share_a_poll(gate: Gate, relay: Relay) -> None:
    before = gate.seen.count(STATE)
    await asyncio.gather(*(relay.source.refresh() for _ in range(20)))

    assert gate.seen.count(STATE) - before < 10


async def test_concurrent_refreshes_share_a_failure(gate: Gate, relay: Relay) -> None:
    await gate.close()
    refreshes = (relay.source.refresh() for _ in range(20))
    outcomes = await asyncio.gather(*refreshes, return_exceptions=True)

    assert [type(outcome) for outcome in outcomes] == [Unavailable] * 20


async def test_token_expires_by_the_clock_of_the_database(
    service: Service, gate: Gate, relay: Relay
) -> None:
    soon = datetime.now(UTC) + timedelta(minutes=30)
    token = await service.token(Scope.READ, expires_at=soon)

    async def is_accepted() -> bool:
        return await relay.status(LOCAL, token) == 200

    await until(is_accepted)
    state = await relay.app[CLIENT].state()
    # The next state would bring the right time again.
    await gate.close()
    await has_problem(relay)
    ahead = msgspec.structs.replace(state, now=soon + timedelta(minutes=1))
    relay.source.credentials.note(ahead, 0.0)
    status = await relay.status(LOCAL, token)

    assert status == 401
