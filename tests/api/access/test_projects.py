"""Projects over HTTP: a prefix with the group that owns it."""

from typing import Any

import pytest

from app.access.guard import TOKENS
from app.access.models import Scope
from tests.api.access.grant_calls import limited_administrator, make_grant, problem
from tests.conftest import Admin, Service
from tests.people import sign_in_person

PATH = "/v1/projects"
NEW = {"name": "payments", "prefix": "payments/", "owner_group": "leads", "description": "Fees."}
PROJECT = f"{PATH}/payments"


async def create(service: Service, **members: Any) -> dict[str, Any]:
    answer = await service.client.post(PATH, json=NEW | members)
    assert answer.status == 201, await answer.text()
    project: dict[str, Any] = await answer.json()
    return project


async def test_owners_administer_the_keys_of_the_project(service: Service) -> None:
    await create(service)
    asha = await sign_in_person(service, "asha", "leads")

    rights = service.app[TOKENS].authenticate_session(asha.text).rights

    for scope in (Scope.ADMIN, Scope.WRITE, Scope.APPROVE):
        assert rights.keys(scope, "production").prefixes == ("payments/",)
    assert not rights.has(Scope.PUBLISH)


async def test_new_owner_group_replaces_the_old_one(service: Service) -> None:
    await create(service)
    asha = await sign_in_person(service, "asha", "leads")
    ben = await sign_in_person(service, "ben", "core")

    body = {"owner_group": "core"}
    answer = await service.client.patch(PROJECT, json=body, headers={"If-Match": '"1"'})

    assert (answer.status, answer.headers["ETag"]) == (200, '"2"')
    assert (await answer.json())["description"] == "Fees."
    tokens = service.app[TOKENS]
    assert not tokens.authenticate_session(asha.text).rights.has(Scope.ADMIN)
    assert tokens.authenticate_session(ben.text).rights.has(Scope.ADMIN)


async def test_deleted_project_leaves_its_grants(service: Service) -> None:
    await create(service)
    grant = await make_grant(service)
    asha = await sign_in_person(service, "asha", "leads")

    answer = await service.client.delete(PROJECT, headers={"If-Match": "*"})

    assert answer.status == 200
    assert not service.app[TOKENS].authenticate_session(asha.text).rights.has(Scope.ADMIN)
    assert (await service.client.get(f"/v1/grants/{grant['id']}")).status == 200
    assert await problem(await service.client.get(PROJECT), 404) == ("project_unknown", [])


@pytest.mark.parametrize(
    ("members", "status", "fields"),
    [
        ({"name": "Payments"}, 422, ["name"]),
        ({"prefix": ""}, 422, ["prefix"]),
        ({"prefix": "/a"}, 422, ["prefix"]),
        ({"prefix": "a" * 256}, 422, ["prefix"]),
        ({"owner_group": ""}, 422, ["owner_group"]),
        ({"owner_group": " "}, 422, ["owner_group"]),
        ({"owner_group": "a\nb"}, 422, ["owner_group"]),
        ({"description": "a\nb"}, 422, ["description"]),
        ({"prefix": "other/"}, 409, ["name"]),
        ({"name": "other"}, 409, ["prefix"]),
    ],
)
async def test_wrong_project_names_its_field(
    service: Service, members: dict[str, Any], status: int, fields: list[str]
) -> None:
    await create(service)

    answer = await service.client.post(PATH, json=NEW | members)

    assert (await problem(answer, status))[1] == fields


async def test_stale_version_changes_nothing(service: Service) -> None:
    project = await create(service)
    stale = {"If-Match": '"7"'}

    changed = await service.client.patch(PROJECT, json={"description": "x"}, headers=stale)
    deleted = await service.client.delete(PROJECT, headers=stale)

    assert (await problem(changed, 412))[0] == "version_stale"
    assert (await problem(deleted, 412))[0] == "version_stale"
    assert await (await service.client.get(PROJECT)).json() == project


async def test_limited_administrator_sees_only_own_projects(service: Service) -> None:
    await create(service)
    await create(service, name="search", prefix="search/")
    await create(service, name="pay", prefix="pay")
    headers = await limited_administrator(service)

    page = await (await service.stranger.get(PATH, headers=headers)).json()

    assert [item["name"] for item in page["items"]] == ["payments"]
    for path in (f"{PATH}/search", f"{PATH}/pay", f"{PATH}/unknown"):
        answer = await service.stranger.get(path, headers=headers)
        assert await problem(answer, 404) == ("project_unknown", [])
        gone = await service.stranger.delete(path, headers=headers | {"If-Match": "*"})
        assert await problem(gone, 404) == ("project_unknown", [])
    for name, status in (("payments", 200), ("search", 404), ("unknown", 404)):
        listed = await service.stranger.get(f"/v1/grants?project={name}", headers=headers)
        assert listed.status == status, name


async def test_owner_makes_a_project_within_their_own(service: Service) -> None:
    headers = await limited_administrator(service)
    within = {"name": "cards", "prefix": "payments/cards/", "owner_group": "cards"}

    created = await service.stranger.post(PATH, json=within, headers=headers)
    refused = await service.stranger.post(
        PATH, json=within | {"name": "all", "prefix": "pay"}, headers=headers
    )

    assert created.status == 201
    assert await problem(refused, 403) == ("key_foreign", ["prefix"])


async def test_administrator_of_an_environment_makes_no_project(service: Service) -> None:
    await create(service)
    headers = await limited_administrator(service, environments=["local"], prefixes=[""])

    created = await service.stranger.post(
        PATH, json=NEW | {"name": "x", "prefix": "x/"}, headers=headers
    )
    changed = await service.stranger.patch(
        PROJECT, json={"owner_group": "x"}, headers=headers | {"If-Match": "*"}
    )

    assert await problem(created, 403) == ("environment_foreign", ["environments"])
    assert (await problem(changed, 403))[0] == "environment_foreign"


async def test_project_changed_by_hand_is_ignored(service: Service, cleaner: Admin) -> None:
    await create(service)
    asha = await sign_in_person(service, "asha", "leads", "others")

    cleaner.execute("update flagstone.projects set owner_group = 'others'")
    await service.app[TOKENS].refresh()

    assert not service.app[TOKENS].authenticate_session(asha.text).rights.has(Scope.ADMIN)
    assert (await (await service.client.get(PROJECT)).json())["remarks"]


async def test_deleted_project_changed_by_hand_has_a_remark(
    service: Service, cleaner: Admin
) -> None:
    await create(service)
    cleaner.execute("update flagstone.projects set owner_group = 'others'")

    deleted = await service.client.delete(PROJECT, headers={"If-Match": "*"})

    assert (await deleted.json())["remarks"] == ["changed outside of the service, and ignored"]


async def test_project_changed_by_hand_is_not_signed(service: Service, cleaner: Admin) -> None:
    await create(service)
    ben = await sign_in_person(service, "ben", "core")
    cleaner.execute("update flagstone.projects set owner_group = 'core'")

    answer = await service.client.patch(
        PROJECT, json={"description": "Other."}, headers={"If-Match": "*"}
    )

    assert await problem(answer, 409) == ("project_unsigned", [])
    await service.app[TOKENS].refresh()
    assert not service.app[TOKENS].authenticate_session(ben.text).rights.has(Scope.ADMIN)
