"""Pages of settings and secrets: list, form, save, conflict, copy, rename, delete, reveal."""

import re
from typing import Any

import pytest

from app.access.models import Scope
from app.database import Database
from app.http.keys import DATABASE
from app.secrets.reveal import VAULT
from app.secrets.vault import Vault
from app.settings import Settings
from tests.api.console.page_forms import Fields, changed, form_fields
from tests.conftest import Service

LOCAL = "/console/environments/local"
API = "/v1/environments"
LIMITS: dict[str, Any] = {
    "type": "object",
    "required": ["max", "on"],
    "properties": {
        "max": {"type": "integer", "minimum": 1, "maximum": 100},
        "on": {"type": "boolean"},
        "tags": {"type": "array", "items": {"type": "string"}, "uniqueItems": True},
        "retry": {"type": "object", "properties": {"count": {"type": "integer", "maximum": 9}}},
    },
}
HTMX = {"HX-Request": "true"}
OWN = {"Sec-Fetch-Site": "same-origin"}


async def put(
    service: Service,
    key: str,
    value: Any,
    version: int = 0,
    environment: str = "local",
    **more: Any,
) -> None:
    headers = {"If-Match": f'"{version}"'} if version else {"If-None-Match": "*"}
    url = f"{API}/{environment}/configurations/{key}"
    async with service.client.put(url, json={"value": value, **more}, headers=headers) as answer:
        assert answer.status in (200, 201), await answer.text()


async def stored(service: Service, key: str, environment: str = "local") -> Any:
    async with service.client.get(f"{API}/{environment}/configurations/{key}") as answer:
        return await answer.json()


async def get(service: Service, path: str, status: int = 200, *, part: bool = False) -> str:
    async with service.client.get(LOCAL + path, headers=HTMX if part else {}) as answer:
        text = await answer.text()
        assert answer.status == status, text
        return text


async def post(
    service: Service, path: str, fields: Fields, status: int = 303, *, part: bool = False
) -> str:
    """Return the page, or the address to which the answer leads."""
    headers = OWN | HTMX if part else OWN
    async with service.client.post(
        LOCAL + path, data=fields, headers=headers, allow_redirects=False
    ) as answer:
        text = await answer.text()
        assert answer.status == status, text
        return answer.headers["Location"] if status == 303 else text


async def edit(
    service: Service, key: str, status: int = 303, *, message: str = "", **values: str
) -> str:
    fields = form_fields(await get(service, f"/settings/{key}"), "edit")
    fields = [*changed(fields, **values), ("message", message)]
    return await post(service, f"/settings/{key}", fields, status)


async def test_list_shows_one_level_with_counts(service: Service) -> None:
    for key in ("a/b/c", "a/b/d", "a/x", "top"):
        await put(service, key, 1)

    first = await get(service, "/settings")
    inner = await get(service, "/settings?prefix=a/")

    assert re.search(r"a/</a> <span[^>]*>3 entries", first)
    assert "settings/top" in first
    assert "settings/a/x" not in first
    assert re.search(r"b/</a> <span[^>]*>2 entries", inner)
    assert "settings/a/x" in inner


async def test_list_searches_keys_and_descriptions(service: Service) -> None:
    await put(service, "mail/sender", 1, description="Who sends")
    await put(service, "other", 1)

    for words in ("SENDS mail", "sender"):
        found = await get(service, f"/settings?q={words}", part=True)
        assert "settings/mail/sender" in found
        assert "settings/other" not in found
        assert "<html" not in found
    assert "No setting matches" in await get(service, "/settings?q=none")


async def test_empty_list_says_what_to_do(service: Service) -> None:
    assert "Create the first setting" in await get(service, "/settings")


async def test_long_list_comes_in_pages(service: Service) -> None:
    operations = [
        {"op": "put", "key": f"k{n:03}", "version": 0, "value": "x" * 200} for n in range(150)
    ]
    await service.client.post(f"{API}/local/changes", json={"operations": operations})

    first = await get(service, "/settings")
    second = await get(service, "/settings?after=k099", part=True)

    assert first.count("settings/k") == 100
    assert "after=k099" in first
    assert second.count("settings/k") == 50
    assert "<thead" not in second
    assert "x" * 100 not in first


async def test_unchanged_form_writes_nothing(service: Service) -> None:
    value = {"max": 5, "on": False, "tags": ["a"], "retry": {}}
    await put(service, "limits", value, schema=LIMITS, description="two\nlines")

    page = await edit(service, "limits", 422)

    assert "Nothing has changed." in page
    assert (await stored(service, "limits"))["version"] == 1


async def test_form_of_schema_saves_what_was_typed(service: Service) -> None:
    await put(service, "limits", {"max": 5, "on": True}, schema=LIMITS)

    fields: dict[str, Any] = {
        "value__max": "7",
        "value__tags": "b\r\na\r\nb",
        "value__retry__count": "3",
    }
    address = await edit(service, "limits", 303, message="More", **fields)

    assert address == f"{LOCAL}/settings/limits?saved=2"
    entry = await stored(service, "limits")
    assert entry["value"] == {"max": 7, "on": True, "tags": ["b", "a"], "retry": {"count": 3}}
    assert entry["schema"] == LIMITS
    async with service.client.get(f"{API}/local/changes/2") as answer:
        assert (await answer.json())["message"] == "More"


async def test_violation_is_beside_its_field_with_what_was_typed(service: Service) -> None:
    await put(service, "limits", {"max": 5, "on": True}, schema=LIMITS)

    page = await edit(service, "limits", 422, value__max="101", value__retry__count="x")
    assert 'id="f-value-retry-count-error"' in page
    assert "must be a number, such as 12 or 0.5" in page

    page = await edit(service, "limits", 422, value__max="101", message="why")
    assert 'value="101"' in page
    assert 'value="why"' in page
    assert re.search(r'id="f-value-max-error">.*greater than the maximum of 100', page)
    assert (await stored(service, "limits"))["version"] == 1


async def test_wrong_json_shows_line_and_column(service: Service) -> None:
    await put(service, "list", [1])

    page = await edit(service, "list", 422, value="[\n  1,\n]")

    assert "at line 3, column 1" in page
    assert "[\n  1,\n]</textarea>" in page


@pytest.mark.parametrize(
    ("type_", "text", "value"),
    [
        ("text", "a\n<b>", "a\n<b>"),
        ("number", "2.50", 2.5),
        ("boolean", "true", True),
        ("null", "", None),
        ("json", '{"a": [1]}', {"a": [1]}),
    ],
)
async def test_new_setting_of_each_type_is_created(
    service: Service, type_: str, text: str, value: Any
) -> None:
    fields = changed(
        form_fields(await get(service, "/settings-new?key=a/"), "edit"),
        key="a/new",
        type=type_,
        value=text,
        description="Why",
    )

    await post(service, "/settings", fields)

    entry = await stored(service, "a/new")
    assert (entry["value"], entry["description"], entry["kind"]) == (value, "Why", "setting")


async def test_new_setting_with_taken_or_wrong_key_is_refused(service: Service) -> None:
    await put(service, "taken", 1)
    fields = form_fields(await get(service, "/settings-new"), "edit")

    for key, status, text in (
        ("taken", 412, "is at version 1"),
        ("a//b", 422, "must begin with a letter"),
        ("", 422, "must begin with a letter"),
    ):
        page = await post(service, "/settings", changed(fields, key=key, value="mine"), status)
        assert text in page
        assert "mine</textarea>" in page
    assert (await stored(service, "taken"))["value"] == 1


async def test_draft_shows_the_change_and_stores_nothing(service: Service) -> None:
    await put(service, "size", 5)
    fields = changed(form_fields(await get(service, "/settings/size"), "edit"), value="6")

    panel = await post(service, "/settings-draft/size?part=pending", fields, 200, part=True)

    assert "<strong>5</strong>" in panel or "5" in panel
    assert "<ins>6</ins>" in panel
    assert "Copy as curl" in panel
    assert "&#34;version&#34;: 1" in panel or "&#34;version&#34;:1" in panel
    assert "<form" not in panel
    assert (await stored(service, "size"))["version"] == 1


async def test_draft_of_another_type_retains_the_value(service: Service) -> None:
    await put(service, "size", 5)
    fields = changed(form_fields(await get(service, "/settings/size"), "edit"), type="text")

    form = await post(service, "/settings-draft/size", [*fields, ("do", "type")], 200, part=True)

    assert form_fields(form, "edit") == changed(fields, shown_type="text")


async def test_form_as_json_retains_what_was_typed(service: Service) -> None:
    await put(service, "limits", {"max": 5, "on": True}, schema=LIMITS)
    fields = changed(form_fields(await get(service, "/settings/limits"), "edit"), value__max="9")

    page = await post(service, "/settings-draft/limits", [*fields, ("do", "json")], 200)

    assert '"max": 9' in dict(form_fields(page, "edit"))["value"]
    page = await get(service, "/settings/limits?as=json")
    assert '"max": 5' in dict(form_fields(page, "edit"))["value"]


async def test_schema_without_form_opens_as_json_with_reason(service: Service) -> None:
    await put(service, "any", "a", schema={"anyOf": [{"type": "string"}]})

    page = await get(service, "/settings/any")

    assert "Shown as JSON, because the schema of value uses anyOf." in page


async def test_conflict_shows_both_changes_and_merges_on_request(service: Service) -> None:
    value = {"max": 5, "on": True}
    await put(service, "limits", value, schema=LIMITS)
    fields = form_fields(await get(service, "/settings/limits"), "edit")
    await put(service, "limits", value | {"on": False}, 1, schema=LIMITS, message="Off")

    mine = changed(fields, value__max="6")
    page = await post(service, "/settings/limits", mine, 412)

    assert "Another change came first" in page
    assert "“Off”" in page
    assert "local admin" in page
    assert dict(form_fields(page, "edit"))["value.max"] == "6"
    assert (await stored(service, "limits"))["value"] == value | {"on": False}

    page = await post(service, "/settings-draft/limits", [*mine, ("do", "rebase")], 200)
    merged = form_fields(page, "edit")
    assert dict(merged)["version"] == "2"
    assert "value.on" not in dict(merged)
    await post(service, "/settings/limits", merged)
    assert (await stored(service, "limits"))["value"] == {"max": 6, "on": False}


async def test_conflict_with_a_deletion_offers_to_create_again(service: Service) -> None:
    await put(service, "size", 5)
    fields = changed(form_fields(await get(service, "/settings/size"), "edit"), value="6")
    await service.client.delete(f"{API}/local/configurations/size", headers={"If-Match": '"1"'})

    page = await post(service, "/settings/size", fields, 412)
    assert "The entry was deleted meanwhile" in page

    page = await post(service, "/settings-draft/size", [*fields, ("do", "rebase")], 200)
    await post(service, "/settings/size", form_fields(page, "edit"))
    assert (await stored(service, "size"))["value"] == 6


async def test_deletion_returns_to_the_folder(service: Service) -> None:
    await put(service, "a/b", 1)

    address = await post(service, "/settings-delete/a/b", [("version", "1")])

    assert address == f"{LOCAL}/settings?prefix=a%2F&saved=2"
    assert (await stored(service, "a/b"))["code"] == "configuration_unknown"


async def test_deletion_in_protected_environment_needs_its_name(service: Service) -> None:
    await put(service, "a/b", 1, environment="production")
    path = "/../production/settings-delete/a/b"

    page = await post(service, path, [("version", "1"), ("confirmation", "a/b")], 422)
    assert "Type production, exactly" in page
    await post(service, path, [("version", "1"), ("confirmation", "production")])


async def test_rename_in_protected_environment_needs_its_name(service: Service) -> None:
    await put(service, "a/b", 1, environment="production")
    path = "/../production/settings-rename/a/b"
    fields = [("version", "1"), ("new_key", "a/c")]

    page = await post(service, path, [*fields, ("confirmation", "a/b")], 422)
    assert 'id="f-rename-confirmation-error"' in page
    assert 'name="confirmation" value="a/b"' in page
    assert "Type production, exactly" in page
    await post(service, path, [*fields, ("confirmation", "production")])


async def test_deletion_of_a_newer_version_is_refused(service: Service) -> None:
    await put(service, "a", 1)
    await put(service, "a", 2, 1)

    page = await post(service, "/settings-delete/a", [("version", "1")], 412)

    assert "a is at version 2" in page
    assert (await stored(service, "a"))["value"] == 2


async def test_rename_is_one_change_set(service: Service) -> None:
    await put(service, "old", 1, description="d")
    await put(service, "taken", 1)

    for key, status in (("taken", 412), ("old", 422), ("a b", 422)):
        await post(service, "/settings-rename/old", [("version", "1"), ("new_key", key)], status)
    await post(service, "/settings-rename/old", [("version", "1"), ("new_key", "new")])

    assert (await stored(service, "new"))["description"] == "d"
    async with service.client.get(f"{API}/local/changes/3") as answer:
        change_set = await answer.json()
    assert change_set["message"] == "Rename old to new"
    assert [change["key"] for change in change_set["changes"]] == ["new", "old"]


async def test_copy_shows_the_change_and_overwrites_nothing_unseen(service: Service) -> None:
    await put(service, "size", 5)
    await put(service, "size", 4, environment="staging")

    page = await get(service, "/settings-copy/size?to=staging")
    assert "<del>4</del>" in page
    fields = [("to", "staging"), ("version", "1")]
    await put(service, "size", 3, 1, environment="staging")
    assert "is at version 2" in await post(service, "/settings-copy/size", fields, 412)

    address = await post(service, "/settings-copy/size", [("to", "staging"), ("version", "2")])
    assert address == "/console/environments/staging/settings/size?saved=3"
    assert (await stored(service, "size", "staging"))["value"] == 5


async def test_copy_to_foreign_environment_is_refused(service: Service) -> None:
    await put(service, "size", 5)
    await put(service, "size", 81_436_251, environment="staging")
    token = await service.token(Scope.READ, Scope.WRITE, environments=("local",))

    async with service.signed_in(token) as browser:
        async with browser.get(f"{LOCAL}/settings-copy/size") as answer:
            assert "No other environment" in await answer.text()
        fields = {"to": "staging", "version": "0"}
        async with browser.post(f"{LOCAL}/settings-copy/size", data=fields) as answer:
            assert answer.status == 422
            assert "81436251" not in await answer.text()


async def test_page_of_the_past_cannot_delete_a_setting(service: Service) -> None:
    await put(service, "size", 5)

    await post(service, "/settings-delete/size?revision=1", [("version", "1")], 409)

    assert (await stored(service, "size"))["value"] == 5


async def test_secret_is_masked_in_every_page(service: Service) -> None:
    await put(service, "key", "hush-hush", kind="secret")
    await put(service, "key", "hush-again", 1, kind="secret", message="rotate")

    for path in ("/settings", "/settings/key", "/settings?q=key", "/settings-copy/key?to=staging"):
        assert "hush" not in await get(service, path), path


async def test_secret_is_replaced_only_with_a_new_value(service: Service) -> None:
    await put(service, "key", "hush-hush", kind="secret", description="old")

    assert "Nothing has changed." in await edit(service, "key", 422)
    page = await edit(service, "key", 422, description="new")
    assert "must be given again: a write replaces it" in page
    await edit(service, "key", value="hush-new", description="new")

    async with service.client.get(f"{API}/local/configurations/key?reveal=true") as answer:
        entry = await answer.json()
    assert (entry["value"], entry["description"]) == ("hush-new", "new")


async def test_draft_of_secret_never_repeats_it_in_the_changes(service: Service) -> None:
    await put(service, "key", "hush-hush", kind="secret")
    fields = changed(form_fields(await get(service, "/settings/key"), "edit"), value="hush-new")

    panel = await post(service, "/settings-draft/key?part=pending", fields, 200, part=True)

    assert "is replaced" in panel
    assert "hush" not in panel


async def test_reveal_is_recorded_and_needs_its_scope(service: Service) -> None:
    await put(service, "key", "hush-hush", kind="secret")

    page = await post(service, "/settings-reveal/key", [], 200)
    assert "hush-hush" in page
    fragment = await post(service, "/settings-reveal/key", [], 200, part=True)
    assert "<html" not in fragment
    async with service.client.get("/v1/access-log?event=sensitive_read") as answer:
        rows = (await answer.json())["items"]
    assert [row["resource"] for row in rows] == ["key", "key"]

    token = await service.token(Scope.READ, Scope.WRITE)
    async with service.signed_in(token) as browser:
        async with browser.get(f"{LOCAL}/settings/key") as answer:
            assert "which you do not have" in await answer.text()
        async with browser.post(f"{LOCAL}/settings-reveal/key") as answer:
            assert answer.status == 403
            assert "hush" not in await answer.text()


async def test_secret_copies_without_being_shown(service: Service) -> None:
    await put(service, "key", "hush-hush", kind="secret")

    await post(service, "/settings-copy/key", [("to", "staging"), ("version", "0")])
    await put(service, "key", "hush-again", 1, kind="secret")
    await post(service, "/settings-copy/key", [("to", "staging"), ("version", "0")], 412)

    async with service.client.get(f"{API}/staging/configurations/key?reveal=true") as answer:
        assert (await answer.json())["value"] == "hush-hush"


async def test_secret_without_key_ring_says_what_to_do(service: Service) -> None:
    await put(service, "key", "hush-hush", kind="secret")

    with service.using(VAULT, Vault()):
        page = await get(service, "/settings/key")
        assert "This service has no key ring." in page
        assert "KEY_ENCRYPTION_KEYS_FILE" in page
        assert "Reveal" not in page


async def test_reader_sees_the_value_without_a_form(service: Service) -> None:
    await put(service, "limits", {"max": 5, "on": True}, schema=LIMITS)
    token = await service.token(Scope.READ)

    async with service.signed_in(token) as browser:
        async with browser.get(f"{LOCAL}/settings/limits") as answer:
            page = await answer.text()
        assert "Read only." in page
        assert 'id="edit"' not in page
        assert "&#34;max&#34;: 5" in page
        async with browser.post(f"{LOCAL}/settings/limits", data={}) as answer:
            assert answer.status == 403


async def test_past_shows_the_value_of_then_without_a_form(service: Service) -> None:
    await put(service, "size", 5)
    await put(service, "size", 6, 1)

    page = await get(service, "/settings/size?revision=1")

    assert "You see the past" in page
    assert 'id="edit"' not in page
    assert ">5<" in page
    assert ">5<" in await get(service, "/settings?revision=1")


async def test_key_of_a_flag_leads_to_its_page(service: Service) -> None:
    await put(service, "f", {"state": "ENABLED", "variants": {"on": True}}, kind="flag")

    async with service.client.get(f"{LOCAL}/settings/f", allow_redirects=False) as answer:
        assert answer.headers["Location"] == f"{LOCAL}/flags/f"


async def test_database_away_still_shows_and_retains_the_draft(
    service: Service, settings: Settings
) -> None:
    await put(service, "size", 5)
    await put(service, "key", "hush-hush", kind="secret")

    with service.using(DATABASE, Database(settings.database)):
        assert "size" in await get(service, "/settings")
        page = await edit(service, "size", 503, value="6")
        await post(service, "/settings-reveal/key", [], 503)

    assert "Not saved." in page
    assert dict(form_fields(page, "edit"))["value"] == "6"
    assert (await stored(service, "size"))["value"] == 5


async def test_unknown_setting_is_not_found(service: Service) -> None:
    page = await get(service, "/settings/a/none", 404)
    assert f"{LOCAL}/settings-new?key=a%2Fnone" in page
    assert f"{LOCAL}/history/a/none" in page
    path = f"{LOCAL}/settings/a/none?saved=2"
    async with service.client.get(path, allow_redirects=False) as answer:
        assert answer.headers["Location"] == f"{LOCAL}/settings?prefix=a%2F&saved=2"
    await post(service, "/settings/none", [("version", "1")], 404)
    await post(service, "/settings/none", [("version", "x")], 400)
