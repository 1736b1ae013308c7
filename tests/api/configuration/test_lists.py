"""Large lists over HTTP: uploads, changes, reads, references, history."""

from typing import Any

import pytest
from aiohttp import ClientSession

from app.access.models import Scope
from app.configuration.list_data.digest import ListSum
from app.configuration.lists import staging
from app.configuration.lists.staging import Uploads
from app.evaluation.lists import FOREVER, REMOVED, loaded_list
from app.http.keys import DATABASE
from tests.conftest import Admin, Service
from tests.factories import flag

LOCAL = "/v1/environments/local"
STAGING = "/v1/environments/staging"
NEW = {"If-None-Match": "*"}
CSV = {"Content-Type": "text/csv"}
NDJSON = {"Content-Type": "application/x-ndjson"}
# In the years 2001 and 2100.
PAST, FUTURE = "2001-01-01T00:00:00Z", "2100-01-01T00:00:00Z"


async def upload(
    service: Service,
    text: str,
    *,
    key: str = "beta",
    place: str = LOCAL,
    headers: dict[str, str] | None = None,
    **query: str,
) -> tuple[int, Any]:
    answer = await service.client.put(
        f"{place}/lists/{key}", data=text, headers=CSV | (headers or NEW), params=query
    )
    return answer.status, await answer.json()


async def patch(
    service: Service, version: int, *, key: str = "beta", place: str = LOCAL, **body: Any
) -> tuple[int, Any]:
    headers = {"If-Match": f'"{version}"'}
    answer = await service.client.patch(f"{place}/lists/{key}", json=body, headers=headers)
    return answer.status, await answer.json()


async def values(service: Service, *, key: str = "beta", place: str = LOCAL, **query: str) -> Any:
    answer = await service.client.get(f"{place}/lists/{key}/values", params=query)
    assert answer.status == 200, await answer.text()
    return sorted(item["value"] for item in (await answer.json())["items"])


async def put_flag(service: Service, *, key: str = "f", place: str = LOCAL, **more: Any) -> Any:
    rule = {"if": [{"in_list": ["beta", {"var": "targetingKey"}]}, "on", "off"]}
    answer = await service.client.put(
        f"{place}/configurations/{key}",
        json={"kind": "flag", "value": flag(defaultVariant="off", targeting=rule, **more)},
        headers=NEW,
    )
    return answer.status, await answer.json()


async def outcome(
    service: Service, key: str, *, place: str = LOCAL, client: ClientSession | None = None
) -> Any:
    answer = await (client or service.client).post(
        f"{place}/ofrep/v1/evaluate/flags/f", json={"context": {"targetingKey": key}}
    )
    body = await answer.json()
    return body.get("value", body)


async def test_upload_creates_entry_with_count_and_digest(service: Service) -> None:
    status, result = await upload(service, 'value,expires_at\nada\n"b,c"\nada\nbob,\n')

    assert status == 201, result
    assert (status, result["count"], result["added"], result["repeated"]) == (201, 3, 3, 1)
    total = ListSum().changed([("ada", None), ("b,c", None), ("bob", None)])
    assert result["digest"] == total.digest.hex()
    entry = await (await service.client.get(f"{LOCAL}/configurations/beta")).json()
    assert entry["kind"] == "segment"
    assert entry["value"] == {"list": {"count": 3, "digest": result["digest"]}}
    assert await values(service) == ["ada", "b,c", "bob"]


async def test_flag_with_in_list_follows_each_change(service: Service) -> None:
    await upload(service, "ada\nbob\n")
    status, answer = await put_flag(service)
    assert status == 201, answer
    assert await outcome(service, "ada") is True
    assert await outcome(service, "eve") is False

    status, result = await patch(service, 1, add=["eve"], remove=["ada", "unknown"])

    assert (status, result["added"], result["removed"], result["count"]) == (200, 1, 1, 2)
    assert [await outcome(service, name) for name in ("ada", "bob", "eve")] == [False, True, True]


async def test_value_does_not_match_after_its_expiry(service: Service) -> None:
    await upload(service, f"old,{PAST}\ngone,{PAST}\nnew,{FUTURE}\n")
    await put_flag(service)

    assert await outcome(service, "old") is False
    assert await outcome(service, "new") is True
    # To add it again changes the expiry.
    status, result = await patch(service, 1, add=["old", {"value": "new", "expires_at": PAST}])
    assert (status, result["added"], result["count"]) == (200, 2, 2)
    # A value that expired long ago leaves the list with the next change.
    assert result["expired"] == 1
    assert await outcome(service, "old") is True
    assert await outcome(service, "new") is False


async def test_revert_restores_the_values(service: Service) -> None:
    await upload(service, "ada\nbob\n")
    await put_flag(service)
    await patch(service, 1, add=["eve"], remove=["ada"])

    reverted = await service.client.post(f"{LOCAL}/changes/3/revert", json={})
    assert reverted.status == 200, await reverted.text()

    assert await values(service) == ["ada", "bob"]
    assert [await outcome(service, name) for name in ("ada", "eve")] == [True, False]
    assert await values(service, revision="3") == ["bob", "eve"]
    # The state before has been changed already, so the next change has a store of its own.
    status, result = await patch(service, 3, add=["joe"])
    assert (status, result["count"]) == (200, 3)
    assert await values(service) == ["ada", "bob", "joe"]
    assert await values(service, revision="3") == ["bob", "eve"]
    assert [await outcome(service, name) for name in ("ada", "joe", "eve")] == [True, True, False]


async def test_restore_to_before_a_list_deletes_it(service: Service) -> None:
    await upload(service, "ada\n", key="other")
    await upload(service, "ada\n")
    restored = await service.client.post(f"{LOCAL}/restore", json={"revision": 1})
    assert restored.status == 200, await restored.text()
    assert (await service.client.get(f"{LOCAL}/lists/beta/values")).status == 404
    assert await values(service, revision="2") == ["ada"]


async def test_promotion_takes_the_list_of_a_flag_along(service: Service) -> None:
    await upload(service, "ada\nbob\n")
    await put_flag(service)

    promoted = await service.client.post(
        f"{STAGING}/promote", json={"from": "local", "keys": ["f"]}
    )
    assert promoted.status == 200, await promoted.text()

    assert await values(service, place=STAGING) == ["ada", "bob"]
    assert await outcome(service, "ada", place=STAGING) is True
    # Both environments go on separately.
    await patch(service, 1, add=["local"])
    await patch(service, 1, place=STAGING, add=["staging"])
    assert await values(service) == ["ada", "bob", "local"]
    assert await values(service, place=STAGING) == ["ada", "bob", "staging"]
    assert await outcome(service, "staging", place=STAGING) is True
    assert await outcome(service, "local", place=STAGING) is False


async def test_replacement_of_few_values_is_a_change(service: Service, cleaner: Admin) -> None:
    names = [f"user-{number}" for number in range(100)]
    await upload(service, "\n".join(names))
    replacement = [*names[5:], "new"]

    status, result = await upload(service, "\n".join(replacement), headers={"If-Match": '"1"'})

    assert (status, result["added"], result["removed"], result["count"]) == (200, 1, 5, 96)
    assert await values(service, limit="500") == sorted(replacement)
    await service.component(Uploads).clean()
    stores = cleaner.execute("select count(*) from flagstone.list_stores").fetchone()
    assert stores == (1,)


async def test_replacement_of_all_values_is_a_new_store(service: Service) -> None:
    await upload(service, "ada\nbob\n")
    await put_flag(service)
    status, result = await upload(service, "eve", headers={"If-Match": '"1"'})
    assert (status, result["added"], result["removed"], result["count"]) == (200, 1, 2, 1)
    assert [await outcome(service, name) for name in ("ada", "eve")] == [False, True]
    assert await values(service, revision="1") == ["ada", "bob"]


@pytest.mark.parametrize(
    ("mode", "expected"), [("add", ["ada", "bob", "eve"]), ("remove", ["bob"])]
)
async def test_upload_can_add_or_remove(service: Service, mode: str, expected: list[str]) -> None:
    await upload(service, "ada\nbob\n")
    status, _ = await upload(service, "ada\neve\n", headers={"If-Match": '"1"'}, operation=mode)
    assert status == 200
    assert await values(service) == expected


async def test_upload_without_difference_writes_nothing(service: Service) -> None:
    await upload(service, "ada\nbob\n")
    status, result = await upload(service, "bob\nada\n", headers={"If-Match": '"1"'})
    assert (status, result["version"], result["revision"]) == (200, 1, 1)
    status, result = await patch(service, 1, add=["ada"], remove=["eve"])
    assert (status, result["version"], result["revision"]) == (200, 1, 1)


async def test_dry_run_of_upload_and_patch_leaves_nothing(service: Service, cleaner: Admin) -> None:
    status, result = await upload(service, "ada\nbob\n", dry_run="true")
    assert (status, result["count"], result["dry_run"]) == (200, 2, True)
    assert (await service.client.get(f"{LOCAL}/configurations/beta")).status == 404
    await service.component(Uploads).clean()
    assert cleaner.execute("select count(*) from flagstone.list_values").fetchone() == (0,)

    await upload(service, "ada\n")
    answer = await service.client.patch(
        f"{LOCAL}/lists/beta?dry_run=true", json={"add": ["eve"]}, headers={"If-Match": '"1"'}
    )
    assert (answer.status, (await answer.json())["count"]) == (200, 2)
    assert await values(service) == ["ada"]


@pytest.mark.parametrize(
    ("text", "violation"),
    [
        ("ada\n,\n", ("line 2", "must have 1 to 255 characters and no control characters")),
        ("x" * 256, ("line 1", "must have 1 to 255 characters and no control characters")),
        ("x" * 5_000, ("line 1", "is too long")),
        (
            "ada\nbob,tomorrow\n",
            ("line 2", "must be a time with its offset from 1970 on, such as 2027-01-31T09:30:00Z"),
        ),
        (
            "ada,2027-01-31T09:30:00",
            ("line 1", "must be a time with its offset from 1970 on, such as 2027-01-31T09:30:00Z"),
        ),
        (
            "a,b,c",
            (
                "line 1",
                "must be a value, and an expiry after a comma at most; quote a value with a comma",
            ),
        ),
    ],
)
async def test_invalid_line_of_csv_is_refused_with_its_number(
    service: Service, cleaner: Admin, text: str, violation: tuple[str, str]
) -> None:
    status, problem = await upload(service, text)
    assert (status, problem["code"]) == (422, "list_invalid"), problem
    assert [(error["field"], error["rule"]) for error in problem["errors"]] == [violation]
    await service.component(Uploads).clean()
    assert cleaner.execute("select count(*) from flagstone.list_stores").fetchone() == (0,)


async def test_ndjson_has_strings_and_objects(service: Service) -> None:
    text = f'"ada"\n\n{{"value":"bob","expires_at":"{FUTURE}"}}\n'
    answer = await service.client.put(f"{LOCAL}/lists/beta", data=text, headers=NDJSON | NEW)
    assert answer.status == 201, await answer.text()
    exported = await service.client.get(f"{LOCAL}/lists/beta/export?type=ndjson")
    assert exported.headers["Content-Type"] == "application/x-ndjson"
    assert sorted((await exported.text()).splitlines()) == sorted(
        ['"ada"', f'{{"value":"bob","expires_at":"{FUTURE}"}}']
    )
    exported = await service.client.get(f"{LOCAL}/lists/beta/export")
    text = await exported.text()
    status, result = await upload(service, text, headers={"If-Match": '"1"'})
    assert (status, result["version"], result["repeated"]) == (200, 1, 0)

    answer = await service.client.put(f"{LOCAL}/lists/new", data="ada\n", headers=NDJSON | NEW)
    assert answer.status == 422
    assert (await answer.json())["errors"][0]["field"] == "line 1"


async def test_page_and_lookup_of_values(service: Service) -> None:
    names = {f"user-{number}" for number in range(25)}
    await upload(service, "\n".join(names))
    seen: list[str] = []
    after: Any = ""
    for _ in range(3):
        answer = await service.client.get(
            f"{LOCAL}/lists/beta/values", params={"limit": "10", "after": after}
        )
        page = await answer.json()
        seen += [item["value"] for item in page["items"]]
        after = page["next"]
    assert after is None
    assert (len(seen), set(seen)) == (25, names)
    assert await values(service, value="user-7") == ["user-7"]
    assert await values(service, value="user-70") == []


async def test_stale_version_is_refused_before_the_body(service: Service) -> None:
    await upload(service, "ada\n")
    status, problem = await upload(service, "eve\n", headers={"If-Match": '"7"'})
    assert (status, problem["code"]) == (412, "version_stale")
    status, problem = await upload(service, "eve\n")
    assert status == 412
    status, problem = await patch(service, 2, add=["x"])
    assert status == 412


async def test_list_in_use_cannot_be_deleted(service: Service) -> None:
    status, problem = await put_flag(service)
    assert (status, problem["code"]) == (422, "reference_unknown")
    await upload(service, "ada\n")
    await put_flag(service)
    answer = await service.client.delete(
        f"{LOCAL}/configurations/beta", headers={"If-Match": '"1"'}
    )
    assert (answer.status, (await answer.json())["code"]) == (409, "segment_in_use")


async def test_rule_and_list_cannot_stand_for_each_other(service: Service) -> None:
    await upload(service, "ada\n")
    reference = flag(defaultVariant="off", targeting={"if": [{"$ref": "beta"}, "on", "off"]})
    answer = await service.client.put(
        f"{LOCAL}/configurations/g", json={"kind": "flag", "value": reference}, headers=NEW
    )
    assert (answer.status, (await answer.json())["code"]) == (422, "flag_not_compiling")
    rule = {"==": [{"var": "plan"}, "pro"]}
    await service.client.put(
        f"{LOCAL}/configurations/rule", json={"kind": "segment", "value": rule}, headers=NEW
    )
    status, problem = await upload(service, "ada\n", key="rule", headers={"If-Match": '"1"'})
    assert (status, problem["code"]) == (409, "kind_fixed")
    named = flag(
        defaultVariant="off",
        targeting={"if": [{"in_list": ["rule", {"var": "targetingKey"}]}, "on", "off"]},
    )
    answer = await service.client.put(
        f"{LOCAL}/configurations/h", json={"kind": "flag", "value": named}, headers=NEW
    )
    assert (answer.status, (await answer.json())["code"]) == (422, "flag_not_compiling")


async def test_unknown_digest_is_refused(service: Service) -> None:
    value = {"list": {"count": 3, "digest": "0" * 64}}
    answer = await service.client.put(
        f"{LOCAL}/configurations/beta", json={"kind": "segment", "value": value}, headers=NEW
    )
    assert (answer.status, (await answer.json())["code"]) == (422, "list_unknown")
    answer = await service.client.put(
        f"{LOCAL}/configurations/beta",
        json={"kind": "segment", "value": {"list": {"count": -1}}},
        headers=NEW,
    )
    assert (answer.status, (await answer.json())["code"]) == (422, "segment_invalid")


async def test_guard_reads_the_list_that_the_change_writes(service: Service) -> None:
    await upload(service, "ada\n")
    guards = [{"context": {"targetingKey": "ada"}, "variant": "on"}]
    status, answer = await put_flag(service, guards=guards)
    assert status == 201, answer
    status, problem = await patch(service, 1, remove=["ada"])
    assert (status, problem["code"]) == (422, "guard_broken")
    status, _ = await patch(service, 1, add=["eve"])
    assert status == 200


async def test_trace_shows_in_list(service: Service) -> None:
    await upload(service, "ada\n")
    await put_flag(service)
    answer = await service.client.post(
        f"{LOCAL}/flags/f/evaluate", json={"context": {"targetingKey": "ada"}}
    )
    steps = (await answer.json())["steps"]
    assert '"operator": "in_list"' in str(steps).replace("'", '"')


async def test_idempotency_key_repeats_the_answer_of_a_patch(service: Service) -> None:
    await upload(service, "ada\n")
    headers = {"If-Match": '"1"', "Idempotency-Key": "k1"}
    answers = [
        await (
            await service.client.patch(
                f"{LOCAL}/lists/beta", json={"add": ["eve"]}, headers=headers
            )
        ).json()
        for _ in range(2)
    ]
    assert answers[0] == answers[1]
    assert answers[0]["version"] == 2


async def test_large_list_changes_in_memory_without_reading_it_again(service: Service) -> None:
    names = [f"user-{number}" for number in range(12_000)]
    status, result = await upload(service, "\n".join(names))
    assert status == 201, result
    await put_flag(service)
    before = loaded_list(result["digest"])
    assert before is not None

    status, result = await patch(service, 1, add=["eve"], remove=["user-7"])

    after = loaded_list(result["digest"])
    assert after is not None
    assert (before.changes, set(after.changes.values())) == ({}, {FOREVER, REMOVED})
    assert [await outcome(service, key) for key in ("eve", "user-7", "user-8")] == [
        True,
        False,
        True,
    ]
    await service.client.post(f"{LOCAL}/changes/3/revert", json={})
    assert [await outcome(service, key) for key in ("eve", "user-7", "user-8")] == [
        False,
        True,
        True,
    ]


async def test_scopes_of_lists(service: Service) -> None:
    await upload(service, "ada\n")
    for scopes, status in (
        ((Scope.READ,), 403),
        ((Scope.WRITE,), 403),
        ((Scope.READ, Scope.WRITE), 200),
    ):
        token = await service.token(*scopes)
        answer = await service.stranger.patch(
            f"{LOCAL}/lists/beta",
            json={"add": ["ada"]},
            headers={"If-Match": '"1"', "Authorization": f"Bearer {token}"},
        )
        assert answer.status == status


async def test_abandoned_upload_is_deleted(service: Service, cleaner: Admin) -> None:
    async with service.app[DATABASE].connection() as connection:
        await connection.execute(
            "insert into flagstone.list_stores (salt, created_at) "
            "values ('\\x00000000000000000000000000000000', current_timestamp - interval '3 h')"
        )
    await service.component(Uploads).clean()
    assert cleaner.execute("select count(*) from flagstone.list_stores").fetchone() == (0,)


async def test_upload_in_a_protected_environment_can_be_proposed(service: Service) -> None:
    environment = await (await service.client.get(LOCAL)).json()
    protected = await service.client.patch(
        LOCAL,
        json={"protection": {"approvals": 1}},
        headers={"If-Match": f'"{environment["version"]}"'},
    )
    assert protected.status == 200, await protected.text()
    status, problem = await upload(service, "ada\n")
    assert (status, problem["code"]) == (409, "approval_required")

    status, proposal = await upload(service, "ada\nbob\n", propose="true")

    assert status == 202, proposal
    (operation,) = proposal["operations"]
    assert operation["value"]["list"]["count"] == 2
    # The values are stored, so whatever names the digest gets them.
    written = await service.client.put(
        f"{STAGING}/configurations/beta",
        json={"kind": "segment", "value": operation["value"]},
        headers=NEW,
    )
    assert written.status == 201, await written.text()
    assert await values(service, place=STAGING) == ["ada", "bob"]
    assert (await service.client.get(f"{LOCAL}/lists/beta/values")).status == 404


async def test_full_list_accepts_as_many_values_as_it_loses(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(staging, "COUNT_MAX", 2)
    await upload(service, "ada\nbob\n")
    status, problem = await patch(service, 1, add=["eve"])
    assert (status, problem["code"]) == (422, "list_too_long")
    status, _ = await patch(service, 1, add=["eve"], remove=["ada"])
    assert status == 200
