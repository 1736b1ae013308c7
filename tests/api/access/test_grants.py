"""Grants over HTTP: create, list and revoke, only within the rights of the caller."""

from typing import Any

import pytest

from app.access.guard import TOKENS
from app.access.models import Scope
from app.access.people import grants
from tests.api.access.grant_calls import (
    GRANTS,
    NEW_GRANT,
    limited_administrator,
    make_grant,
    problem,
)
from tests.conftest import Admin, Service
from tests.people import sign_in_person


async def test_new_grant_works_at_once(service: Service) -> None:
    asha = await sign_in_person(service, "asha", "platform")

    grant = await make_grant(service)

    rights = service.app[TOKENS].authenticate_session(asha.text).rights
    assert "payments/limit" in rights.keys(Scope.WRITE, "local")
    assert (grant["holder"], grant["prefix"]) == ("platform", "payments/")
    stored = await service.client.get(f"{GRANTS}/{grant['id']}")
    assert await stored.json() == grant


async def test_person_is_named_by_id_or_as_an_actor(service: Service) -> None:
    asha = await sign_in_person(service, "asha")
    actor = asha.person.actor

    grant = await make_grant(service, group=None, person=actor)
    listed = await (await service.client.get(f"{GRANTS}?person={actor}")).json()
    read = await (await service.client.get(f"/v1/people/{actor}")).json()
    unknown = await service.client.post(
        GRANTS, json=NEW_GRANT | {"group": None, "person": "person:none"}
    )

    assert (grant["person"], read["id"]) == (asha.person.id, asha.person.id)
    assert listed["items"] == [grant]
    assert "as ID or person:ID" in (await unknown.json())["errors"][0]["rule"]
    assert unknown.status == 422


async def test_grant_to_a_person_shows_their_name(service: Service) -> None:
    asha = await sign_in_person(service)

    grant = await make_grant(service, group=None, person=asha.person.id)

    assert (grant["person"], grant["group"], grant["holder"]) == (asha.person.id, None, "Asha")


async def test_revoked_grant_is_gone_at_once(service: Service) -> None:
    asha = await sign_in_person(service, "asha", "platform")
    grant = await make_grant(service)

    answer = await service.client.delete(f"{GRANTS}/{grant['id']}", params={"reason": "Left."})

    assert (answer.status, await answer.json()) == (200, grant)
    assert not service.app[TOKENS].authenticate_session(asha.text).rights.has(Scope.WRITE)
    again = await service.client.delete(f"{GRANTS}/{grant['id']}", params={"reason": "Left."})
    assert await problem(again, 404) == ("grant_unknown", [])


@pytest.mark.parametrize(
    ("members", "field"),
    [
        ({"group": None}, "person"),
        ({"person": "0123456789abC"}, "person"),
        ({"group": None, "person": "0123456789abC"}, "person"),
        ({"group": "a\nb"}, "group"),
        ({"group": ""}, "group"),
        ({"group": " "}, "group"),
        ({"role": "emperor"}, "role"),
        ({"role": "Editor"}, "role"),
        ({"environments": ["nowhere"]}, "environments"),
        ({"environments": ["*", "local"]}, "environments"),
        ({"environments": []}, "environments"),
        ({"prefix": "/payments"}, "prefix"),
        ({"prefix": "pay ments"}, "prefix"),
        ({"prefix": "a" * 256}, "prefix"),
        ({"reason": ""}, "reason"),
        ({"reason": " "}, "reason"),
        ({"reason": "a\nb"}, "reason"),
        ({"reason": "a" * 501}, "reason"),
        ({"unknown": 1}, "unknown"),
    ],
)
async def test_wrong_grant_names_its_field(
    service: Service, members: dict[str, Any], field: str
) -> None:
    answer = await service.client.post(GRANTS, json=NEW_GRANT | members)

    _, fields = await problem(answer, 422)
    assert fields in ([field], ["body"]), fields


async def test_equal_grant_is_refused(service: Service) -> None:
    await make_grant(service)

    answer = await service.client.post(GRANTS, json=NEW_GRANT | {"reason": "another"})

    assert await problem(answer, 409) == ("grant_exists", [])


async def test_grant_without_reason_is_not_revoked(service: Service) -> None:
    grant = await make_grant(service)

    answer = await service.client.delete(f"{GRANTS}/{grant['id']}")

    assert await problem(answer, 422) == ("field_invalid", ["reason"])


async def test_grants_above_the_limit_are_refused(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    await make_grant(service)
    monkeypatch.setattr(grants, "GRANTS_MAX", 1)

    answer = await service.client.post(GRANTS, json=NEW_GRANT | {"group": "other"})

    assert await problem(answer, 409) == ("grants_full", [])


async def test_idempotency_key_creates_one_grant(service: Service) -> None:
    headers = {"Idempotency-Key": "once"}

    first = await service.client.post(GRANTS, json=NEW_GRANT, headers=headers)
    second = await service.client.post(GRANTS, json=NEW_GRANT, headers=headers)

    assert (first.status, second.status) == (201, 201)
    assert await first.json() == await second.json()


async def test_filters_select_grants(service: Service) -> None:
    one = await make_grant(service)
    two = await make_grant(
        service, group="search", role="viewer", environments=["*"], prefix="search/"
    )

    async def ids(**query: str) -> set[str]:
        page = await (await service.client.get(GRANTS, params=query)).json()
        return {item["id"] for item in page["items"]}

    assert await ids() == {one["id"], two["id"]}
    assert await ids(group="search") == {two["id"]}
    assert await ids(role="editor") == {one["id"]}
    assert await ids(environment="staging") == {two["id"]}
    assert await ids(environment="local") == {one["id"], two["id"]}
    project = {"name": "payments", "prefix": "payments/", "owner_group": "leads"}
    assert (await service.client.post("/v1/projects", json=project)).status == 201
    assert await ids(project="payments") == {one["id"]}
    unknown = await service.client.get(GRANTS, params={"project": "unknown"})
    assert await problem(unknown, 404) == ("project_unknown", ["project"])


async def test_pages_have_each_grant_once(service: Service) -> None:
    created = {(await make_grant(service, group=f"g{number}"))["id"] for number in range(5)}
    seen: list[str] = []
    page: dict[str, Any] = {"next": ""}
    for _ in range(3):
        query = {"limit": "2", "after": page["next"]}
        page = await (await service.client.get(GRANTS, params=query)).json()
        seen += [item["id"] for item in page["items"]]

    assert page["next"] is None
    assert (len(seen), set(seen)) == (5, created)


async def test_limited_administrator_gets_full_pages(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Grants of others between those of the caller make no page shorter."""
    monkeypatch.setattr(grants, "GRANTS_AT_ONCE", 2)
    prefixes = [prefix for number in range(4) for prefix in ("search/", f"payments/{number}/")]
    made = [
        await make_grant(service, prefix=prefix, group=f"g{number}")
        for number, prefix in enumerate(prefixes)
    ]
    own = sorted(grant["id"] for grant in made if grant["prefix"].startswith("payments/"))
    headers = await limited_administrator(service)
    seen: list[list[str]] = []
    page: dict[str, Any] = {"next": ""}
    while page["next"] is not None:
        query = {"limit": "3", "after": page["next"]}
        page = await (await service.stranger.get(GRANTS, params=query, headers=headers)).json()
        seen.append([item["id"] for item in page["items"]])

    assert seen == [own[:3], own[3:]]


async def test_limited_administrator_sees_only_grants_within(service: Service) -> None:
    own = await make_grant(service, prefix="payments/cards/")
    foreign = [
        await make_grant(service, prefix="search/"),
        await make_grant(service, prefix=""),
        await make_grant(service, prefix="pay"),
    ]
    headers = await limited_administrator(service)

    page = await (await service.stranger.get(GRANTS, headers=headers)).json()

    assert [item["id"] for item in page["items"]] == [own["id"]]
    for grant in foreign:
        path = f"{GRANTS}/{grant['id']}"
        shown = await service.stranger.get(path, headers=headers)
        assert await problem(shown, 404) == ("grant_unknown", [])
        gone = await service.stranger.delete(path, headers=headers, params={"reason": "r"})
        assert await problem(gone, 404) == ("grant_unknown", [])
    changes = await (await service.stranger.get("/v1/access/history", headers=headers)).json()
    assert [change["subject"] for change in changes["items"]] == [own["id"]]


async def test_administrator_of_an_environment_sees_only_its_grants(service: Service) -> None:
    own = await make_grant(service, environments=["local"])
    await make_grant(service, environments=["local", "staging"])
    await make_grant(service, environments=["*"])
    headers = await limited_administrator(service, environments=["local"], prefixes=[""])

    page = await (await service.stranger.get(GRANTS, headers=headers)).json()

    assert [item["id"] for item in page["items"]] == [own["id"]]


@pytest.mark.parametrize(
    ("token", "members", "code", "field"),
    [
        ({}, {"prefix": ""}, "key_foreign", "prefix"),
        ({}, {"prefix": "search/"}, "key_foreign", "prefix"),
        ({}, {"prefix": "pay"}, "key_foreign", "prefix"),
        (
            {"environments": ["local"]},
            {"environments": ["*"]},
            "environment_foreign",
            "environments",
        ),
        (
            {"environments": ["local"]},
            {"environments": ["staging"]},
            "environment_foreign",
            "environments",
        ),
        ({"scopes": ["admin", "read"]}, {"role": "editor"}, "scope_missing", "role"),
        ({}, {"role": "publisher"}, "scope_missing", "role"),
    ],
)
async def test_grant_beyond_own_rights_is_refused(
    service: Service, token: dict[str, Any], members: dict[str, Any], code: str, field: str
) -> None:
    headers = await limited_administrator(service, **token)

    answer = await service.stranger.post(GRANTS, json=NEW_GRANT | members, headers=headers)

    assert await problem(answer, 403) == (code, [field])


async def test_limited_administrator_grants_within(service: Service) -> None:
    headers = await limited_administrator(service)

    answer = await service.stranger.post(GRANTS, json=NEW_GRANT, headers=headers)

    assert answer.status == 201


async def test_grant_changed_by_hand_has_a_remark(service: Service, cleaner: Admin) -> None:
    grant = await make_grant(service)
    cleaner.execute("update flagstone.grants set role = 'admin'")

    shown = await (await service.client.get(f"{GRANTS}/{grant['id']}")).json()

    assert shown["remarks"] == ["changed outside of the service, and ignored"]


async def test_deleted_environment_leaves_every_grant(service: Service) -> None:
    tier = {"name": "qa", "tier": "development"}
    assert (await service.client.post("/v1/environments", json=tier)).status == 201
    both = await make_grant(service, environments=["local", "qa"])
    only = await make_grant(service, environments=["qa"])
    asha = await sign_in_person(service, "asha", "platform")

    deleted = await service.client.delete("/v1/environments/qa", headers={"If-Match": "*"})
    assert deleted.status == 200, await deleted.text()
    assert (await service.client.post("/v1/environments", json=tier)).status == 201

    rights = service.app[TOKENS].authenticate_session(asha.text).rights
    assert not rights.covers(Scope.WRITE, "qa")
    assert rights.covers(Scope.WRITE, "local")
    shown = await (await service.client.get(f"{GRANTS}/{both['id']}")).json()
    assert (shown["environments"], shown["remarks"]) == (["local"], [])
    gone = await service.client.get(f"{GRANTS}/{only['id']}")
    assert gone.status == 404


async def test_forged_grant_stays_forged_when_environment_is_deleted(
    service: Service, cleaner: Admin
) -> None:
    tier = {"name": "qa", "tier": "development"}
    assert (await service.client.post("/v1/environments", json=tier)).status == 201
    grant = await make_grant(service, environments=["local", "qa"])
    cleaner.execute("update flagstone.grants set role = 'admin', prefix = ''")

    await service.client.delete("/v1/environments/qa", headers={"If-Match": "*"})

    shown = await (await service.client.get(f"{GRANTS}/{grant['id']}")).json()
    assert shown["environments"] == ["local"]
    assert shown["remarks"]


async def test_malformed_environment_of_a_filter_is_named(service: Service) -> None:
    answer = await service.client.get(GRANTS, params={"environment": "Local"})

    assert await problem(answer, 400) == ("request_malformed", ["environment"])
