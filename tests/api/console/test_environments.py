"""Pages of environments: the list, a new one, the properties, the deletion."""

from typing import Any

import pytest

from app.access.models import Scope
from tests.api.console.page_forms import Fields, changed, form_fields
from tests.api.console.test_settings import OWN, put
from tests.conftest import Service

PAGE = "/console/environments/staging"


async def get(service: Service, path: str) -> str:
    async with service.client.get(path) as answer:
        text = await answer.text()
        assert answer.status == 200, text
        return text


async def post(service: Service, path: str, fields: Fields, status: int = 303) -> str:
    async with service.client.post(path, data=fields, headers=OWN, allow_redirects=False) as answer:
        text = await answer.text()
        assert answer.status == status, text
        return answer.headers["Location"] if status == 303 else text


async def environment(service: Service, name: str = "staging") -> Any:
    async with service.client.get(f"/v1/environments/{name}") as answer:
        return await answer.json()


async def edit(service: Service, status: int = 303, **values: str) -> str:
    fields = form_fields(await get(service, f"{PAGE}/environment"), "edit")
    return await post(service, f"{PAGE}/environment", changed(fields, **values), status)


async def test_list_shows_each_environment_with_counts(service: Service) -> None:
    await put(service, "a", 1)
    await put(service, "b", 1)

    page = await get(service, "/console/environments")

    for name in ("local", "development", "staging", "production"):
        assert f'href="/console/environments/{name}/environment"' in page
    assert '<td class="number hide-small">2</td>' in page
    assert "New environment" in page


async def test_list_hides_foreign_environments(service: Service) -> None:
    token = await service.token(Scope.READ, environments=("staging",))

    async with service.signed_in(token) as browser:
        async with browser.get("/console/environments") as answer:
            page = await answer.text()
        assert "staging" in page
        assert "/environments/local/" not in page
        assert "New environment" not in page
        async with browser.get("/console/new-environment") as answer:
            assert answer.status == 403


async def test_new_environment_is_created(service: Service) -> None:
    fields = form_fields(await get(service, "/console/new-environment"), "edit")
    fields = changed(fields, name="team-a", tier="staging", metadata='{"team": "a"}', message="Why")

    address = await post(service, "/console/new-environment", [*fields, ("protected", "true")])

    assert address == "/console/environments/team-a/flags?saved=1"
    created = await environment(service, "team-a")
    assert (created["tier"], created["protected"]) == ("staging", True)
    assert created["metadata"] == {"team": "a"}


@pytest.mark.parametrize(
    ("values", "status", "text"),
    [
        ({"name": "local"}, 409, "must not be the name of an existing environment"),
        ({"name": "A b"}, 422, "must begin with a lower-case letter"),
        ({"name": "x", "tier": "moon"}, 422, "must be one of the allowed values"),
        ({"name": "x", "metadata": '{"a": [1]}'}, 422, "must be a string, a number or a boolean"),
        ({"name": "x", "metadata": "{"}, 422, "at line 1, column 2"),
        ({"name": "x", "metadata": '{"a": null}'}, 422, "must not contain null"),
    ],
)
async def test_refused_environment_retains_what_was_typed(
    service: Service, values: dict[str, str], status: int, text: str
) -> None:
    fields = form_fields(await get(service, "/console/new-environment"), "edit")

    page = await post(service, "/console/new-environment", changed(fields, **values), status)

    assert text in page
    assert dict(form_fields(page, "edit"))["name"] == values["name"]


async def test_properties_change_as_one_patch(service: Service) -> None:
    assert "Nothing has changed." in await edit(service, 422)
    await edit(service, metadata='{"team": "a", "size": 2}', message="Why")

    address = await edit(service, metadata='{"size": 2.5}', fractional="v2")

    assert address == f"{PAGE}/environment?saved=2"
    changed_environment = await environment(service)
    assert changed_environment["metadata"] == {"size": 2.5}
    assert changed_environment["fractional"] == "v2"
    async with service.client.get("/v1/environments/staging/changes/1") as answer:
        assert (await answer.json())["message"] == "Why"


async def test_properties_of_another_version_are_merged_on_top(service: Service) -> None:
    await edit(service, metadata='{"a": 1, "b": 1}')
    mine = form_fields(await get(service, f"{PAGE}/environment"), "edit")
    mine = changed(mine, metadata='{"a": 2, "b": 1}')
    await edit(service, metadata='{"a": 1, "b": 2, "c": 3}', fractional="v2")

    page = await post(service, f"{PAGE}/environment", mine, 412)

    assert "Another change came first." in page
    assert (await environment(service))["metadata"] == {"a": 1, "b": 2, "c": 3}
    await post(service, f"{PAGE}/environment", form_fields(page, "edit"))
    merged = await environment(service)
    assert merged["metadata"] == {"a": 2, "b": 2, "c": 3}
    assert merged["fractional"] == "v2"


async def test_writer_changes_metadata_but_not_the_protection(service: Service) -> None:
    token = await service.token(Scope.READ, Scope.WRITE)

    async with service.signed_in(token) as browser:
        async with browser.get(f"{PAGE}/environment") as answer:
            page = await answer.text()
        assert "needs the scope <code>admin</code>" in page
        assert "Delete staging" not in page
        fields = changed(form_fields(page, "edit"), metadata='{"a": 1}')
        async with browser.post(f"{PAGE}/environment", data=fields) as answer:
            assert answer.status == 200
            page = await answer.text()
        fields = changed(form_fields(page, "edit"), fractional="v2")
        async with browser.post(f"{PAGE}/environment", data=fields) as answer:
            assert answer.status == 403
            assert "needs the scope admin" in await answer.text()
    assert (await environment(service))["metadata"] == {"a": 1}


async def test_writer_of_some_keys_gets_no_form_of_properties(service: Service) -> None:
    token = await service.token(Scope.READ, Scope.WRITE, Scope.ADMIN, prefixes=("shop/",))

    async with (
        service.signed_in(token) as browser,
        browser.get(f"{PAGE}/environment") as answer,
    ):
        page = await answer.text()
    assert answer.status == 200
    assert "Properties" in page
    assert 'id="edit"' not in page
    assert "Delete staging" not in page


async def test_deletion_needs_the_typed_name(service: Service) -> None:
    await post(
        service,
        "/console/new-environment",
        [("name", "team-a"), ("tier", "staging"), ("fractional", "v3")],
    )
    path = "/console/environments/team-a/environment-delete"

    page = await post(service, path, [("version", "2"), ("confirmation", "team")], 422)
    assert "Type team-a, exactly" in page
    address = await post(service, path, [("version", "2"), ("confirmation", "team-a")])
    assert address == "/console/environments?deleted=team-a"
    assert "team-a was deleted" in await get(service, address)
    assert (await environment(service, "team-a"))["code"] == "environment_unknown"


async def test_protected_environment_is_not_deleted(service: Service) -> None:
    page = await get(service, "/console/environments/production/environment")
    assert "Clear “Protected from deletion” and save before you delete it." in page

    version = (await environment(service, "production"))["version"]
    fields = [("version", str(version)), ("confirmation", "production")]
    path = "/console/environments/production/environment-delete"
    assert "The environment is protected." in await post(service, path, fields, 409)


async def test_past_properties_are_shown_without_a_form(service: Service) -> None:
    await edit(service, metadata='{"a": 1}')
    await edit(service, metadata='{"a": 2}')

    page = await get(service, f"{PAGE}/environment?revision=1")

    assert "&#34;a&#34;: 1" in page
    assert 'id="edit"' not in page
    assert "Delete staging" not in page


async def test_form_protects_environment_for_keys(service: Service) -> None:
    await edit(service, approvals="2", keys="checkout/\ndb/")

    state = await environment(service)
    page = await get(service, f"{PAGE}/environment")

    assert state["protection"] == {
        "approvals": 2,
        "self_approval": False,
        "keys": ["checkout/", "db/"],
    }
    assert "2 approvals for keys with the prefix checkout/ or db/" in page
    assert "Set the approvals to 0" in page


async def test_save_without_approval_is_proposed(service: Service) -> None:
    await edit(service, approvals="1")

    proposed = await edit(service, metadata='{"owner": "shop"}')
    fields = form_fields(await get(service, f"{PAGE}/environment"), "edit")
    forged = [*changed(fields, metadata='{"owner": "shop"}'), ("emergency", "true")]
    refused = await post(service, f"{PAGE}/environment", forged, 403)

    assert proposed.startswith("/console/proposals/")
    assert "needs the scope publish" in refused
    assert (await environment(service))["metadata"] == {}


async def test_emergency_is_saved_and_marked_in_history(service: Service) -> None:
    await edit(service, approvals="1")
    token = await service.token(*Scope)
    headers = {**OWN, "X-API-Key": token}
    async with service.stranger.get(f"{PAGE}/environment", headers=headers) as answer:
        fields = form_fields(await answer.text(), "edit")
    silent = [*changed(fields, metadata='{"owner": "shop"}'), ("emergency", "true")]
    loud = changed(silent, message="outage")

    statuses = []
    for form in (silent, loud):
        async with service.stranger.post(
            f"{PAGE}/environment", data=form, headers=headers, allow_redirects=False
        ) as answer:
            statuses.append(answer.status)
    changes = await get(service, f"{PAGE}/changes")
    change_set = await get(service, f"{PAGE}/changes/2")

    assert statuses == [422, 303]
    assert "emergency</span>" in changes
    assert "emergency, without approval" in change_set
