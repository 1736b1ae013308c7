"""Tokens for the keys below prefixes: what they grant, who may make them, and who sees them."""

from typing import Any

import pytest
from aiohttp import ClientResponse

from app.access.events import Origin
from app.access.guard import ACCESS_LOG, TOKENS
from app.access.models import Grant, Principal, Scope
from app.access.permissions import Keys
from app.access.sessions import codes
from app.errors import Unauthenticated
from app.http.keys import DATABASE
from tests.conftest import Server, Service

PATH = "/v1/tokens"
SHOP = {"name": "shop", "scopes": ["read"], "environments": ["local"], "prefixes": ["shop/"]}


async def make(service: Service, **members: Any) -> dict[str, Any]:
    """Create a limited token as the administrator of everything."""
    answer = await service.client.post(PATH, json=SHOP | members)
    assert answer.status == 201, await answer.text()
    issued: dict[str, Any] = await answer.json()
    return issued


async def refusal(answer: ClientResponse) -> tuple[str, str]:
    """Return the code and the field of a refusal."""
    content = await answer.json(content_type=None)
    assert answer.status == 403, content
    return content["code"], content["errors"][0]["field"]


async def test_prefixes_are_stored_without_those_that_others_imply(service: Service) -> None:
    issued = await make(service, prefixes=["shop/cart/", "shop/", "a", "shop/"])

    assert issued["token"]["prefixes"] == ["a", "shop/"]
    rights = service.app[TOKENS].authenticate(issued["text"]).rights
    assert rights.keys(Scope.READ, "local") == Keys(("a", "shop/"))
    assert not rights.covers(Scope.READ, "staging")
    every = await make(service, prefixes=["shop/", ""])
    assert every["token"]["prefixes"] == [""]


async def test_token_without_prefixes_is_for_all_keys(service: Service) -> None:
    body = {name: value for name, value in SHOP.items() if name != "prefixes"}
    answer = await service.client.post(PATH, json=body)

    assert (await answer.json())["token"]["prefixes"] == [""]


async def test_refusal_of_a_prefix_names_field_and_rule(service: Service) -> None:
    answer = await service.client.post(PATH, json=SHOP | {"prefixes": ["shop/", "/a"]})
    content = await answer.json()

    assert content["errors"][0]["field"] == "prefixes"
    assert content["errors"][0]["rule"].startswith("each must be empty for all keys, or begin with")


async def test_successor_has_the_prefixes(service: Service) -> None:
    issued = await make(service)
    at = f"{PATH}/{issued['token']['id']}"
    rotated = await (await service.client.post(f"{at}/rotate", json={})).json()

    assert rotated["token"]["prefixes"] == ["shop/"]
    rights = service.app[TOKENS].authenticate(rotated["text"]).rights
    assert rights.keys(Scope.READ, "local") == Keys(("shop/",))


async def test_prefixes_changed_by_sql_end_the_token(service: Service, server: Server) -> None:
    issued = await make(service)
    at = f"{PATH}/{issued['token']['id']}"
    with server.admin("suite") as connection:
        connection.execute(
            "update flagstone.tokens set prefixes = %s where id = %s", [[""], issued["token"]["id"]]
        )
    await service.app[TOKENS].refresh()

    with pytest.raises(Unauthenticated):
        service.app[TOKENS].authenticate(issued["text"])
    rotated = await service.client.post(f"{at}/rotate", json={})
    assert (rotated.status, (await rotated.json())["code"]) == (409, "token_not_ours")


async def test_administrator_of_a_prefix_grants_only_keys_below_it(service: Service) -> None:
    own = await service.token(Scope.ADMIN, Scope.READ, prefixes=("shop/",))
    headers = {"X-API-Key": own}

    async def post(**members: Any) -> ClientResponse:
        return await service.stranger.post(PATH, json=SHOP | members, headers=headers)

    for prefixes in (["shop/"], ["shop/cart", "shop/a/"]):
        assert (await post(prefixes=prefixes)).status == 201
    for prefixes in ([""], ["shop"], ["pay/"], ["shop/", "pay/"]):
        assert await refusal(await post(prefixes=prefixes)) == ("key_foreign", "prefixes")
    assert await refusal(await post(scopes=["write"])) == ("scope_missing", "scopes")


async def test_administrator_of_a_prefix_sees_only_tokens_below_it(service: Service) -> None:
    own = await service.token(Scope.ADMIN, Scope.READ, environments=("local",), prefixes=("shop/",))
    headers = {"X-API-Key": own}
    inside = (await make(service, prefixes=["shop/", "shop/cart"]))["token"]["id"]
    foreign = [
        (await make(service, **members))["token"]["id"]
        for members in (
            {"prefixes": ["pay/"]},
            {"prefixes": ["shop/", "pay/"]},
            {"prefixes": ["shop"]},
            {"prefixes": [""]},
            {"environments": ["local", "staging"]},
            {"environments": ["*"]},
        )
    ]

    listed = await (await service.stranger.get(PATH, headers=headers)).json()
    assert {token["id"] for token in listed["items"]} == {inside, own.split("_")[2]}
    for other in foreign:
        at = f"{PATH}/{other}"
        answers = (
            await service.stranger.get(at, headers=headers),
            await service.stranger.delete(at, headers=headers),
            await service.stranger.post(f"{at}/rotate", json={}, headers=headers),
        )
        assert [answer.status for answer in answers] == [404, 404, 404]
    rotated = await service.stranger.post(f"{PATH}/{inside}/rotate", json={}, headers=headers)
    assert rotated.status == 201
    assert (await service.stranger.delete(f"{PATH}/{inside}", headers=headers)).status == 200


async def test_session_of_a_limited_token_has_its_prefixes(service: Service) -> None:
    text = (await make(service))["text"]
    async with service.signed_in(text) as browser:
        cookie = next(iter(browser.cookie_jar)).value
    rights = service.app[TOKENS].authenticate_session(cookie).rights

    assert rights.keys(Scope.READ, "local") == Keys(("shop/",))


async def test_link_and_session_with_prefixes_changed_by_sql_fail(
    service: Service, server: Server
) -> None:
    log, key, database = service.app[ACCESS_LOG], service.app[TOKENS].key, service.app[DATABASE]
    grant = Grant(
        scopes=frozenset({Scope.READ}),
        environments=frozenset({"*"}),
        prefixes=frozenset({"shop/"}),
        expires_at=None,
    )
    principal = Principal(actor="operator:asha", name="asha", grant=grant)
    origin = Origin(actor="operator:asha")
    good, bad = [
        await database.transact(lambda c: codes.create(c, log, key, principal, origin=origin))
        for _ in range(2)
    ]
    with server.admin("suite") as connection:
        connection.execute(
            "update flagstone.sign_in_codes set prefixes = %s where id = %s", [[""], bad.id]
        )

    used = await database.transact(lambda c: codes.use(c, key, good.text))
    assert used.grant.prefixes == {"shop/"}
    with pytest.raises(Unauthenticated):
        await database.transact(lambda c: codes.use(c, key, bad.text))
