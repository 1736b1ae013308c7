"""Who may do what where, and why: for every principal, for one actor, and for the caller."""

from typing import Any

import pytest

from app.access.people.models import Person
from tests.api.access.grant_calls import limited_administrator, make_grant, problem
from tests.conftest import Service
from tests.people import sign_in_person

WHO = "/v1/access/who"
CHECK = "/v1/access/check"
OWN_KEYS = "keys with the prefix payments/"
QUESTION = {"scope": "write", "environment": "local", "key": "payments/limit"}


async def who(service: Service, **query: str) -> dict[str, Any]:
    answer = await service.client.get(WHO, params=QUESTION | query)
    assert answer.status == 200, await answer.text()
    found: dict[str, Any] = await answer.json()
    return found


async def check(service: Service, actor: str, **query: str) -> tuple[bool, str]:
    answer = await service.client.get(CHECK, params=QUESTION | {"actor": actor} | query)
    assert answer.status == 200, await answer.text()
    found = await answer.json()
    assert found["allowed"] is bool(found["reasons"])
    return found["allowed"], found["text"]


async def suspend(service: Service, person: Person) -> None:
    path = f"/v1/people/{person.id}/suspend"
    assert (await service.client.post(path, json={"reason": "r"})).status == 200


async def test_every_way_to_a_right_is_named(service: Service) -> None:
    project = {"name": "payments", "prefix": "payments/", "owner_group": "leads"}
    assert (await service.client.post("/v1/projects", json=project)).status == 201
    asha = await sign_in_person(service, "asha", "leads", "platform")
    ben = await sign_in_person(service, "ben", "platform")
    await sign_in_person(service, "chen", "search")
    grant = await make_grant(service)
    own = await make_grant(service, group=None, person=ben.person.id, environments=["*"], prefix="")
    await make_grant(service, group="search", prefix="search/")
    await make_grant(service, group="viewers", role="viewer")

    found = await who(service)

    people = {item["name"]: item["reasons"] for item in found["people"]}
    assert people.keys() == {"Asha", "Ben"}
    assert [reason["text"] for reason in people["Asha"]] == [
        f"admin via project payments, {OWN_KEYS} in all environments",
        f"editor via group platform, {OWN_KEYS} in local, because They own it.",
    ]
    assert [(reason["via"], reason["grant"]) for reason in people["Ben"]] == [
        (None, own["id"]),
        ("group platform", grant["id"]),
    ]
    assert [item["name"] for item in found["groups"]] == ["leads", "platform"]
    assert "local admin" in [item["name"] for item in found["tokens"]]
    assert asha.person.actor in [item["actor"] for item in found["people"]]


async def test_suspended_people_and_weaker_tokens_are_left_out(service: Service) -> None:
    asha = await sign_in_person(service, "asha", "platform")
    await make_grant(service)
    await suspend(service, asha.person)
    for name, limits in (
        ("reader", {"scopes": ["read"]}),
        ("elsewhere", {"environments": ["staging"]}),
        ("other", {"prefixes": ["search/"]}),
        ("writer", {}),
    ):
        body = {"name": name, "scopes": ["write"], "environments": ["local"]} | limits
        assert (await service.client.post("/v1/tokens", json=body)).status == 201

    found = await who(service)

    assert found["people"] == []
    assert [item["name"] for item in found["groups"]] == ["platform"]
    assert [item["name"] for item in found["tokens"]] == ["local admin", "writer"]


async def test_pages_of_people_have_each_person_once(service: Service) -> None:
    await make_grant(service)
    for number in range(5):
        await sign_in_person(service, f"p{number}", "platform")
    seen: list[str] = []
    page: dict[str, Any] = {"next": ""}
    for _ in range(3):
        page = await who(service, limit="2", after=page["next"])
        seen += [item["name"] for item in page["people"]]

    assert (page["next"], sorted(seen)) == (None, ["P0", "P1", "P2", "P3", "P4"])


async def test_write_is_a_reason_to_propose(service: Service) -> None:
    await make_grant(service)

    assert [item["name"] for item in (await who(service, scope="propose"))["groups"]] == [
        "platform"
    ]


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ({}, f"editor via group platform, {OWN_KEYS} in local, because They own it."),
        (
            {"environment": "staging"},
            f"Asha has the scope write, but not for this key: {OWN_KEYS} in local.",
        ),
        (
            {"key": "search/limit"},
            f"Asha has the scope write, but not for this key: {OWN_KEYS} in local.",
        ),
        ({"scope": "reveal"}, "Asha has no grant with the scope reveal for this key."),
    ],
)
async def test_check_says_why(service: Service, query: dict[str, str], text: str) -> None:
    await make_grant(service)
    asha = await sign_in_person(service, "asha", "platform")

    assert await check(service, asha.person.actor, **query) == (not query, text)


async def test_check_names_the_first_of_many_grants(service: Service) -> None:
    for number in range(12):
        await make_grant(service, group="platform", prefix=f"team-{number}/")

    allowed, text = await check(service, "group:platform")

    assert not allowed
    assert text.count("keys with the prefix team-") == 10
    assert text.endswith("; and 2 more.")


async def test_check_names_suspension_and_missing_grants(service: Service) -> None:
    asha = await sign_in_person(service, "asha", "platform")
    assert await check(service, asha.person.actor) == (
        False,
        "Asha has no grant with the scope write for this key.",
    )

    await make_grant(service)
    await suspend(service, asha.person)

    allowed, text = await check(service, asha.person.actor)
    assert not allowed
    assert text.startswith("Asha is suspended since ")


async def test_check_answers_for_tokens_groups_and_operators(service: Service) -> None:
    await make_grant(service)
    admin = f"token:{service.admin_token.split('_')[2]}"

    assert await check(service, admin) == (True, "the token itself, all keys in all environments")
    assert (await check(service, "group:platform"))[0]
    assert await check(service, "group:strangers") == (
        False,
        "strangers has no grant with the scope write for this key.",
    )
    assert await check(service, "operator:ben") == (
        True,
        "an operator has access to the database",
    )


@pytest.mark.parametrize(
    "actor", ["person:0123456789abC", "token:0123456789abC", "system:start", "asha", "group:", ""]
)
async def test_unknown_actor_is_not_found(service: Service, actor: str) -> None:
    answer = await service.client.get(CHECK, params=QUESTION | {"actor": actor})

    assert await problem(answer, 404) == ("actor_unknown", ["actor"])


@pytest.mark.parametrize(
    ("query", "status", "field"),
    [
        ({"scope": "fly"}, 400, "scope"),
        ({"environment": "Local"}, 400, "environment"),
        ({"environment": "nowhere"}, 404, "environment"),
        ({"key": "/a"}, 400, "key"),
        ({"key": ""}, 400, "key"),
    ],
)
async def test_wrong_question_names_its_parameter(
    service: Service, query: dict[str, str], status: int, field: str
) -> None:
    for path, actor in ((WHO, {}), (CHECK, {"actor": "operator:ben"})):
        answer = await service.client.get(path, params=QUESTION | actor | query)
        assert (await problem(answer, status))[1] == [field]


@pytest.mark.parametrize("name", ["scope", "environment", "key", "actor"])
async def test_missing_parameter_is_named(service: Service, name: str) -> None:
    query = QUESTION | {"actor": "operator:ben"}
    del query[name]

    answer = await service.client.get(CHECK, params=query)

    assert (await problem(answer, 400))[1] == [name]


async def test_limited_administrator_asks_about_own_keys_only(service: Service) -> None:
    await sign_in_person(service, "asha", "platform")
    await make_grant(service, prefix="", reason="A reason that is not for everyone.")
    headers = await limited_administrator(service, environments=["local"])

    own = await service.stranger.get(WHO, params=QUESTION, headers=headers)
    for query, code in (
        ({"key": "search/limit"}, "key_foreign"),
        ({"environment": "staging"}, "environment_foreign"),
        ({"environment": "nowhere"}, "environment_foreign"),
    ):
        for path, actor in ((WHO, {}), (CHECK, {"actor": "operator:ben"})):
            params = QUESTION | actor | query
            answer = await service.stranger.get(path, params=params, headers=headers)
            assert (await problem(answer, 403))[0] == code

    # Everyone who may is named, but a grant beyond the caller's keys is not shown.
    [person] = (await own.json())["people"]
    assert person["reasons"] == [
        {
            "text": "editor via group platform, all keys in local",
            "via": "group platform",
            "grant": None,
            "role": "editor",
            "environments": ["local"],
            "prefixes": [""],
            "reason": None,
        }
    ]


async def test_limited_administrator_sees_no_foreign_token(service: Service) -> None:
    for name, prefix in (("wide", ""), ("narrow", "payments/cards/")):
        body = {"name": name, "scopes": ["write"], "environments": ["*"], "prefixes": [prefix]}
        assert (await service.client.post("/v1/tokens", json=body)).status == 201
    headers = await limited_administrator(service)

    params = QUESTION | {"key": "payments/cards/limit", "environment": "staging"}
    found = await (await service.stranger.get(WHO, params=params, headers=headers)).json()

    tokens = {item["name"]: item["reasons"][0]["text"] for item in found["tokens"]}
    assert tokens.pop("narrow") == f"the token itself, {OWN_KEYS}cards/ in all environments"
    assert tokens.pop("a") == f"the token itself, {OWN_KEYS} in all environments"
    # The administrator's own token, and `wide`.
    assert len(tokens) == 2
    for name, text in tokens.items():
        assert name.startswith("token:")
        assert text == f"the token itself, {OWN_KEYS}cards/limit in staging"


async def test_caller_reads_own_rights(service: Service) -> None:
    body = {
        "name": "deploy",
        "scopes": ["read", "write"],
        "environments": ["staging", "local"],
        "prefixes": ["search/", "payments/"],
        "expires_days": 9,
    }
    issued = await (await service.client.post("/v1/tokens", json=body)).json()
    headers = {"X-API-Key": issued["text"]}

    found = await (await service.stranger.get("/v1/me", headers=headers)).json()

    assert found == {
        "actor": f"token:{issued['token']['id']}",
        "actor_name": "deploy",
        "expires_at": issued["token"]["expires_at"],
        "rights": [
            {
                "scopes": ["read", "write"],
                "environments": ["local", "staging"],
                "prefixes": ["payments/", "search/"],
                "text": f"read and write: {OWN_KEYS} or search/ in local and staging",
            }
        ],
    }


async def test_stranger_has_no_self(service: Service) -> None:
    assert await problem(await service.stranger.get("/v1/me"), 401) == ("token_refused", [])
