"""Roles over HTTP: those that are built in, and those that an administrator makes."""

from typing import Any

import pytest

from app.access.guard import TOKENS
from app.access.models import PERSONAL_SCOPES, Scope
from app.access.people import own_roles
from tests.api.access.grant_calls import NEW_GRANT, limited_administrator, make_grant, problem
from tests.conftest import Admin, Service
from tests.people import sign_in_person

PATH = "/v1/roles"
NEW = {"name": "operator", "scopes": ["read", "reveal"], "description": "On call."}
ROLE = f"{PATH}/operator"


async def create(service: Service, **members: Any) -> dict[str, Any]:
    answer = await service.client.post(PATH, json=NEW | members)
    assert answer.status == 201, await answer.text()
    role: dict[str, Any] = await answer.json()
    return role


async def test_built_in_roles_have_their_scopes(service: Service) -> None:
    roles = (await (await service.client.get(PATH)).json())["items"]

    viewer = {"read", "evaluate"}
    reviewer = viewer | {"write", "propose", "approve"}
    assert {role["name"]: set(role["scopes"]) for role in roles} == {
        "viewer": viewer,
        "editor": viewer | {"write", "propose"},
        "reviewer": reviewer,
        "publisher": reviewer | {"publish"},
        "secret-reader": viewer | {"reveal"},
        "admin": set(PERSONAL_SCOPES),
    }
    assert all(role["built_in"] for role in roles)


async def test_own_role_can_be_granted(service: Service) -> None:
    await create(service)
    await make_grant(service, role="operator")
    asha = await sign_in_person(service, "asha", "platform")

    rights = service.app[TOKENS].authenticate_session(asha.text).rights

    assert rights.covers(Scope.REVEAL, "local")
    assert not rights.has(Scope.WRITE)


async def test_changed_role_changes_its_grants(service: Service) -> None:
    await create(service)
    await make_grant(service, role="operator")
    asha = await sign_in_person(service, "asha", "platform")

    answer = await service.client.put(
        ROLE, json={"scopes": ["read", "write"]}, headers={"If-Match": '"1"'}
    )

    assert (answer.status, answer.headers["ETag"]) == (200, '"2"')
    rights = service.app[TOKENS].authenticate_session(asha.text).rights
    assert rights.has(Scope.WRITE)
    assert not rights.has(Scope.REVEAL)


async def test_stale_version_changes_nothing(service: Service) -> None:
    role = await create(service)
    stale = {"If-Match": '"2"'}

    changed = await service.client.put(ROLE, json={"scopes": ["read"]}, headers=stale)
    deleted = await service.client.delete(ROLE, headers=stale)
    unconditional = await service.client.delete(ROLE)

    assert (await problem(changed, 412))[0] == "version_stale"
    assert (await problem(deleted, 412))[0] == "version_stale"
    assert (await problem(unconditional, 428))[0] == "condition_missing"
    assert await (await service.client.get(ROLE)).json() == role


async def test_deleted_role_is_gone(service: Service) -> None:
    await create(service)

    answer = await service.client.delete(ROLE, headers={"If-Match": "*"})

    assert answer.status == 200
    assert await problem(await service.client.get(ROLE), 404) == ("role_unknown", [])


async def test_role_in_use_is_not_deleted(service: Service) -> None:
    await create(service)
    await make_grant(service, role="operator")

    answer = await service.client.delete(ROLE, headers={"If-Match": "*"})

    assert await problem(answer, 409) == ("role_in_use", [])


async def test_built_in_role_cannot_change(service: Service) -> None:
    path, headers = f"{PATH}/viewer", {"If-Match": "*"}

    changed = await service.client.put(path, json={"scopes": ["read"]}, headers=headers)
    deleted = await service.client.delete(path, headers=headers)
    created = await service.client.post(PATH, json=NEW | {"name": "viewer"})

    assert await problem(changed, 409) == ("role_built_in", [])
    assert await problem(deleted, 409) == ("role_built_in", [])
    assert await problem(created, 409) == ("role_taken", ["name"])


@pytest.mark.parametrize(
    ("members", "fields"),
    [
        ({"name": "Operator"}, ["name"]),
        ({"name": ""}, ["name"]),
        ({"scopes": []}, ["scopes"]),
        ({"scopes": ["fly"]}, ["scopes[0]"]),
        ({"scopes": ["read", "relay"]}, ["scopes"]),
        ({"description": "a\nb"}, ["description"]),
        ({"description": "a" * 1001}, ["description"]),
        ({"reason": "a\nb"}, ["reason"]),
    ],
)
async def test_wrong_role_names_its_field(
    service: Service, members: dict[str, Any], fields: list[str]
) -> None:
    answer = await service.client.post(PATH, json=NEW | members)

    assert (await problem(answer, 422))[1] == fields


async def test_roles_above_the_limit_are_refused(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    await create(service)
    monkeypatch.setattr(own_roles, "ROLES_MAX", 1)

    answer = await service.client.post(PATH, json=NEW | {"name": "other"})

    assert await problem(answer, 409) == ("roles_full", [])


@pytest.mark.parametrize("limits", [{}, {"environments": ["local"], "prefixes": [""]}])
async def test_limited_administrator_changes_no_role(
    service: Service, limits: dict[str, Any]
) -> None:
    await create(service)
    headers = await limited_administrator(service, **limits)

    created = await service.stranger.post(PATH, json=NEW | {"name": "x"}, headers=headers)
    change = {"scopes": ["read"]}
    changed = await service.stranger.put(ROLE, json=change, headers=headers | {"If-Match": "*"})
    deleted = await service.stranger.delete(ROLE, headers=headers | {"If-Match": "*"})

    for answer in (created, changed, deleted):
        assert await problem(answer, 403) == ("all_keys_needed", [])
    assert (await service.stranger.get(PATH, headers=headers)).status == 200


async def test_role_has_no_scopes_beyond_those_of_its_author(service: Service) -> None:
    answer = await service.client.post(PATH, json=NEW | {"scopes": ["read", "publish"]})

    assert await problem(answer, 403) == ("scope_missing", ["role"])


async def test_deleted_role_changed_by_hand_has_a_remark(service: Service, cleaner: Admin) -> None:
    await create(service)
    cleaner.execute("update flagstone.roles set scopes = '{read,write,admin}'")

    deleted = await service.client.delete(ROLE, headers={"If-Match": "*"})

    assert (await deleted.json())["remarks"] == ["changed outside of the service, and ignored"]


async def test_name_of_a_role_of_a_newer_release_is_taken(service: Service, cleaner: Admin) -> None:
    """This release cannot use the role, so no list has it."""
    await create(service)
    (rule,) = cleaner.execute(
        "select pg_get_constraintdef(oid) from pg_constraint where conname = 'roles_scopes_known'"
    ).fetchone() or ("",)
    cleaner.execute("alter table flagstone.roles drop constraint roles_scopes_known")
    try:
        cleaner.execute("update flagstone.roles set scopes = '{read,fly}'")

        listed = (await (await service.client.get(PATH)).json())["items"]
        answer = await service.client.post(PATH, json=NEW)

        assert NEW["name"] not in {role["name"] for role in listed}
        assert await problem(answer, 409) == ("role_taken", ["name"])
    finally:
        cleaner.execute("delete from flagstone.roles")
        cleaner.execute(f"alter table flagstone.roles add constraint roles_scopes_known {rule}")


async def test_role_changed_by_hand_is_ignored(service: Service, cleaner: Admin) -> None:
    await create(service)
    await make_grant(service, role="operator")
    asha = await sign_in_person(service, "asha", "platform")

    cleaner.execute("update flagstone.roles set scopes = '{read,write,admin}'")
    await service.app[TOKENS].refresh()

    rights = service.app[TOKENS].authenticate_session(asha.text).rights
    assert not any(map(rights.has, Scope))
    assert (await (await service.client.get(ROLE)).json())["remarks"]
    refused = await service.client.post("/v1/grants", json=NEW_GRANT | {"role": "operator"})
    assert await problem(refused, 422) == ("field_invalid", ["role"])
