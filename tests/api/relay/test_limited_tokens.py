"""Tokens for the keys below prefixes at relays."""

from dataclasses import replace

import msgspec
import pytest

from app.access.guard import TOKENS
from app.access.mac import holds
from app.access.models import Scope, Token
from app.relay import protocol
from app.settings import Secret
from tests.api.access.reader import filled_readers, leaks
from tests.api.relay.conftest import Chain
from tests.api.relay.relays import bearer
from tests.conftest import Service
from tests.waiting import until


@pytest.mark.slow
async def test_answers_of_a_relay_contain_nothing_of_other_keys(
    service: Service, chain: Chain
) -> None:
    filled = await filled_readers(service)
    async with service.client.get("/v1/environments/local") as answer:
        await chain.second.reach("local", (await answer.json())["revision"])
    found: dict[str, str] = {}
    for reader in filled.readers:
        at_relay = replace(reader, client=chain.second.client)

        async def is_known(token: str = reader.token) -> bool:
            own = "/v1/environments/local/configurations/shop/flag"
            return await chain.second.status(own, token) == 200

        await until(is_known)
        answers = await at_relay.all()
        assert sum(answer.status == 200 for answer in answers.values()) > 20
        found |= leaks(answers)

    assert found == {}


async def test_foreign_key_is_refused_at_a_relay(service: Service, chain: Chain) -> None:
    token = await service.token(Scope.READ, Scope.EVALUATE, prefixes=("shop/",))
    at = "/v1/environments/local"

    async def is_known() -> bool:
        return await chain.second.status(f"{at}/configurations/shop/none", token) == 404

    await until(is_known)
    for path in ("configurations/pay/a", "lists/pay/a/values", "flags/pay/a/plan"):
        assert await chain.second.status(f"{at}/{path}", token) == 403
    path = f"{at}/ofrep/v1/evaluate/flags/pay/a"
    async with chain.second.client.post(path, json={}, headers=bearer(token)) as answer:
        assert answer.status == 403


async def test_relay_of_an_earlier_release_refuses_limited_tokens(service: Service) -> None:
    """It ignores the member `prefixes`, so it computes the MAC of a token for all keys."""
    relay = await service.token(Scope.RELAY)
    text = await service.token(Scope.READ, prefixes=("shop/",))
    key = Secret(service.app[TOKENS].relay_key.reveal())
    async with service.stranger.get(protocol.TOKENS, headers=bearer(relay)) as answer:
        document = await answer.json()
    sent = next(raw for raw in document["tokens"] if raw["id"] == text.split("_")[2])
    as_sent = msgspec.convert(sent, Token)
    del sent["grant"]["prefixes"]
    as_read_earlier = msgspec.convert(sent, Token)

    assert as_sent.grant.prefixes == {"shop/"}
    assert holds(key, text, as_sent)
    assert not holds(key, text, as_read_earlier)
