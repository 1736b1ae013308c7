"""Tokens, revocations and counts of evaluations at relays."""

import json
from pathlib import Path
from typing import Any

import pytest

from app.access.directory import TokenDirectory
from app.access.events import AccessEvent, Origin
from app.access.guard import TOKENS
from app.access.last_used import TOKEN_USE, TokenUse
from app.access.log import GROUPS_MAX, AccessLog
from app.access.mac import relay_key
from app.access.models import Scope
from app.database import Database
from app.flags.handlers import USAGE
from app.http.keys import DATABASE
from app.settings import Settings
from tests.api.relay.conftest import Chain
from tests.api.relay.relays import Gate, Relay, bearer, relaying
from tests.conftest import Service
from tests.factories import flag
from tests.waiting import until

LOCAL = "/v1/environments/local"
TOKENS_PATH = "/v1/tokens"


async def answers(relay: Relay, token: str, status: int, path: str = LOCAL) -> None:
    async def is_answered() -> bool:
        return await relay.status(path, token) == status

    await until(is_answered)


async def test_revoked_token_is_refused_at_a_relay_of_a_relay(
    service: Service, chain: Chain
) -> None:
    token = await service.token(Scope.READ)
    await answers(chain.second, token, 200)
    await service.revoke(token)

    await answers(chain.second, token, 401)


async def test_rotated_token_is_valid_at_a_relay_for_the_grace(
    service: Service, chain: Chain
) -> None:
    old = await service.token(Scope.READ)
    path = f"{TOKENS_PATH}/{old.split('_')[2]}/rotate"
    async with service.client.post(path, json={"grace_seconds": 3600}) as answer:
        new = (await answer.json())["text"]
    await answers(chain.first, new, 200)

    await answers(chain.first, old, 200)


async def test_token_of_an_earlier_release_works_after_its_use(
    service: Service, chain: Chain
) -> None:
    token = await service.token(Scope.READ)
    async with service.app[DATABASE].connection() as connection:
        await connection.execute(
            "update tokens set relay_mac = null where id = $1", token.split("_")[2]
        )
    await answers(chain.first, token, 401)
    async with service.stranger.get(LOCAL, headers=bearer(token)) as answer:
        assert answer.status == 200
    await service.app[TOKEN_USE].run_once()

    await answers(chain.first, token, 200)


async def test_relay_mac_that_cannot_be_written_is_retried(
    service: Service, settings: Settings
) -> None:
    token, directory = await service.token(Scope.READ), service.app[TOKENS]
    assert isinstance(directory, TokenDirectory)
    id_ = token.split("_")[2]
    async with service.app[DATABASE].connection() as connection:
        await connection.execute("update tokens set relay_mac = null where id = $1", id_)
    await directory.refresh()
    async with service.stranger.get(LOCAL, headers=bearer(token)) as answer:
        assert answer.status == 200
    unopened = Database(settings.database)
    await TokenUse(unopened, directory).run_once()
    await service.app[TOKEN_USE].run_once()
    await directory.refresh()

    assert directory.usable[id_].relay_mac is not None


async def test_feed_has_no_key_and_no_mac_of_the_service(service: Service) -> None:
    token = await service.token(Scope.RELAY)
    async with service.stranger.get("/relay/v1/tokens", headers=bearer(token)) as answer:
        text = await answer.text()
    key = service.app[TOKENS].key
    document: dict[str, Any] = json.loads(text)

    assert key.reveal() not in text
    assert document["key"] == relay_key(key).reveal()
    assert token not in text
    assert all(entry["name"] == "" for entry in document["tokens"])


async def test_admin_may_grant_relay_and_sessions_do_not_have_it(service: Service) -> None:
    body = {"name": "edge", "scopes": ["relay", "read"], "environments": ["local"]}
    async with service.client.post(TOKENS_PATH, json=body) as answer:
        assert answer.status == 201, await answer.text()
        text = (await answer.json())["text"]
    writer = await service.token(Scope.ADMIN)
    async with service.stranger.post(TOKENS_PATH, json=body, headers=bearer(writer)) as answer:
        assert answer.status == 403
    async with service.signed_in(text) as browser, browser.get("/console") as page:
        assert page.status == 200


async def test_evaluations_at_a_relay_are_counted_once(
    service: Service, relay_token: str, gate: Gate, tmp_path: Path
) -> None:
    """The first answer to the counts is lost, so they are sent twice."""
    definition = {"kind": "flag", "value": flag(defaultVariant="on")}
    path = f"{LOCAL}/configurations/f"
    async with service.client.put(path, json=definition, headers={"If-None-Match": "*"}) as answer:
        revision = (await answer.json())["revision"]
    client = await service.token(Scope.EVALUATE)
    async with (
        relaying(service.url, relay_token, tmp_path / "1") as first,
        relaying(gate.url, relay_token, tmp_path / "2") as second,
    ):
        gate.upstream = first.url
        await second.reach("local", revision)
        await answers(second, client, 403)
        for _ in range(3):
            async with second.client.post(
                f"{LOCAL}/ofrep/v1/evaluate/flags/f", json={}, headers=bearer(client)
            ) as answer:
                assert answer.status == 200
        gate.lost.add("/relay/v1/usage")
        await second.app[USAGE].run_once()
        await second.app[USAGE].run_once()
        sent = gate.seen.count("/relay/v1/usage")
    async with service.client.get(f"{LOCAL}/flags/usage") as answer:
        (item,) = (await answer.json())["items"]
    async with service.client.get(f"{TOKENS_PATH}/{client.split('_')[2]}") as answer:
        used = (await answer.json())["last_used_at"]

    assert sent == 2
    assert item["count"] == 3
    assert used is not None


async def test_counts_of_foreign_environments_are_refused(service: Service) -> None:
    token = await service.token(Scope.RELAY, environments=("staging",))
    body = {"counts": [["local", "f", "STATIC", "on", 1]]}
    headers = bearer(token) | {"Idempotency-Key": "0" * 32}
    async with service.stranger.post("/relay/v1/usage", json=body, headers=headers) as answer:
        assert answer.status == 403
    async with service.stranger.post("/relay/v1/usage", json=body, headers=bearer(token)) as answer:
        assert answer.status == 428


async def test_usage_marks_only_tokens_that_reach_the_relay(service: Service) -> None:
    relay_token = await service.token(Scope.RELAY, environments=("local",))
    used = {}
    for environment in ("local", "staging"):
        client = await service.token(Scope.READ, environments=(environment,))
        used[environment] = client.split("_")[2]
    body = {"counts": [], "tokens": [*used.values(), "unknown"]}
    headers = bearer(relay_token) | {"Idempotency-Key": "1" * 32}
    async with service.stranger.post("/relay/v1/usage", json=body, headers=headers) as answer:
        assert answer.status == 200

    last_used = {}
    for environment, id_ in used.items():
        async with service.client.get(f"{TOKENS_PATH}/{id_}") as answer:
            last_used[environment] = (await answer.json())["last_used_at"]
    assert last_used["local"] is not None
    assert last_used["staging"] is None


@pytest.mark.parametrize(
    ("row", "rule"),
    [
        (["local", "f", "<b>", "on", 1], "counts[0][2]"),
        (["local", "f", "STATIC", "on", 10**9 + 1], "counts[0][4]"),
        (["local", "f", "STATIC", "on", 0], "counts[0][4]"),
    ],
)
async def test_unreal_counts_are_refused(service: Service, row: list[Any], rule: str) -> None:
    headers = bearer(await service.token(Scope.RELAY)) | {"Idempotency-Key": "2" * 32}
    body = {"counts": [row]}
    async with service.stranger.post("/relay/v1/usage", json=body, headers=headers) as answer:
        assert answer.status == 422
        assert rule in await answer.text()


async def test_flood_of_refusals_is_no_loss_without_a_log() -> None:
    log = AccessLog(None)
    for number in range(GROUPS_MAX + 1):
        log.enqueue(Origin(actor=f"token:{number}").did(AccessEvent.LOGIN_FAIL))
    await log.run_once()

    assert log.blurred == 1
    assert log.problem is None


async def test_metrics_of_a_relay_have_its_upstream(service: Service, relay: Relay) -> None:
    async with relay.client.get("/metrics", headers=bearer(service.admin_token)) as answer:
        text = await answer.text()

    for name in ("upstream_up", "depth", "fetches_total", "received_bytes_total", "streams"):
        assert f"flagstone_relay_{name}" in text
