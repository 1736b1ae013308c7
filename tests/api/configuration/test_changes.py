"""Change sets: writes of several keys, and reads, comparisons and restores of the past."""

import asyncio
import os
from datetime import datetime
from typing import Any

import pytest
from yarl import URL

from app.access.models import Scope
from app.configuration.changes import service as changes
from app.configuration.changes.authority import OPERATOR_AUTHORITY
from app.configuration.changes.chain import GENESIS, link_hash
from app.configuration.changes.models import (
    ABSENT,
    Change,
    ChangeKind,
    Content,
    Entry,
    Kind,
    Link,
    Operation,
)
from app.http.keys import DATABASE
from tests.conftest import Server, Service
from tests.factories import COSTLY_SCHEMA, HALF_COSTLY_SCHEMA, flag

LOCAL = "/v1/environments/local"
STAGING = "/v1/environments/staging"


async def _post(service: Service, path: str, body: object, **headers: str) -> tuple[int, Any]:
    answer = await service.client.post(path, json=body, headers=headers)
    return answer.status, await answer.json(content_type=None)


async def _get(service: Service, path: str) -> Any:
    return await (await service.client.get(path)).json(content_type=None)


def _put(key: str, value: object, version: int = 0, **rest: object) -> dict[str, object]:
    return {"op": "put", "key": key, "value": value, "version": version, **rest}


async def _state(service: Service, place: str = LOCAL, **query: str) -> dict[str, Any]:
    answer = await service.client.get(place + "/configurations", params=query)
    return {item["key"]: item["value"] for item in (await answer.json())["items"]}


async def _three_revisions(service: Service) -> None:
    """Revision 1 creates a and b, revision 2 changes a and creates c, revision 3 deletes b."""
    await _post(service, LOCAL + "/changes", {"operations": [_put("a", 1), _put("b", 1)]})
    await _post(service, LOCAL + "/changes", {"operations": [_put("a", 2, 1), _put("c", {"x": 1})]})
    await _post(
        service, LOCAL + "/changes", {"operations": [{"op": "delete", "key": "b", "version": 1}]}
    )


async def test_change_set_hash_covers_the_hash_before(service: Service) -> None:
    """The hash of the stored change set, computed again, equals the hash that was written."""
    odd = {
        "n": [1.0, -0.0, 1e300, 5e-324, 2**53, 0.1],
        "t": "\x7f\n\\ é 𝄞",
        "é": {"b": 1, "a": None},
    }
    await _three_revisions(service)
    await _post(service, LOCAL + "/changes", {"operations": [_put("odd", odd), _put("a", 3, 2)]})

    result = (await _get(service, LOCAL + "/changes"))["items"][::-1]

    previous = GENESIS
    for change_set in result:
        link = Link(
            **{name: change_set[name] for name in ("environment", "revision", "actor", "message")},
            kind=ChangeKind(change_set["kind"]),
            created_at=datetime.fromisoformat(change_set["created_at"]),
            changes=[_change(item) for item in change_set["changes"]],
        )
        previous = link_hash(previous, link)
        assert previous.hex() == change_set["hash"]
    assert (await _get(service, LOCAL))["hash"] == previous.hex()


def _change(view: dict[str, Any]) -> Change:
    before, after = (_content(view[side]) for side in ("before", "after"))
    version = view["before"] and view["before"]["version"]
    return Change(
        key=view["key"],
        before=Entry(key=view["key"], content=before, version=version, last_version=0),
        after=after,
        version=view["after"] and view["after"]["version"],
    )


def _content(view: dict[str, Any] | None) -> Content | None:
    if view is None:
        return None
    return Content(
        kind=Kind(view["kind"]),
        value=view["value"],
        schema=view["schema"],
        description=view["description"],
    )


async def test_change_set_of_several_keys_makes_one_revision(service: Service) -> None:
    status, result = await _post(
        service,
        LOCAL + "/changes",
        {"message": "both", "operations": [_put("a", 1), _put("b", flag(), kind="flag")]},
    )

    outcome = await _get(service, LOCAL + "/changes/1")
    assert status == 200
    assert result["change_sets"][0]["revision"] == 1
    assert [change["key"] for change in outcome["changes"]] == ["a", "b"]
    assert (outcome["message"], outcome["kind"]) == ("both", "edit")
    assert outcome["actor"].startswith("token:")
    assert outcome["changes"][1]["before"] is None
    assert outcome["changes"][1]["after"]["kind"] == "flag"


async def test_stale_key_refuses_all_and_names_each_stale_key(service: Service) -> None:
    await _three_revisions(service)

    status, problem = await _post(
        service,
        LOCAL + "/changes",
        {"operations": [_put("a", 9, 1), _put("c", 9, 1), _put("d", 9, 3)]},
    )

    assert (status, problem["code"]) == (412, "version_stale")
    assert {error["field"]: error["rule"] for error in problem["errors"]} == {
        "a": "a is at version 2",
        "d": "d does not exist",
    }
    assert await _state(service) == {"a": 2, "c": {"x": 1}}


@pytest.mark.parametrize(
    ("operations", "field"),
    [
        ([_put("a", 1), _put("a", 2)], "operations[1].key"),
        ([_put("-a", 1)], "operations[0].key"),
        ([_put("a", None, kind="secret")], "operations[0].value"),
        ([_put("a", "x", schema={"type": "integer"})], "operations[0].value"),
        ([{"op": "move", "key": "a"}], "operations[0].op"),
        ([{"op": "put", "key": "a", "value": 1}], "operations[0]"),
        ([{"op": "delete", "key": "a", "version": 0}], "operations[0].version"),
        ([], "operations"),
    ],
)
async def test_wrong_operation_is_named_by_position(
    service: Service, operations: list[dict[str, object]], field: str
) -> None:
    status, problem = await _post(service, LOCAL + "/changes", {"operations": operations})

    assert status == 422
    assert problem["errors"][0]["field"] == field
    assert await _state(service) == {}


@pytest.mark.usefixtures("little_time_for_checks")
async def test_change_set_costly_schema_names_its_key(service: Service) -> None:
    operations = [
        _put("a", 1, schema={"format": "date"}),
        _put("b/c", 1, schema=COSTLY_SCHEMA),
        _put("d", "x", schema={"type": "integer", "format": "date"}),
    ]

    status, problem = await _post(service, LOCAL + "/changes", {"operations": operations})

    assert (status, problem["code"]) == (422, "schema_too_costly")
    assert [error["field"] for error in problem["errors"]] == ["operations[1].schema"]
    assert "b/c" in problem["detail"]
    assert await _state(service) == {}


@pytest.mark.usefixtures("little_time_for_checks")
async def test_change_set_many_schemas_share_one_budget(service: Service) -> None:
    schema = {"items": {"anyOf": [{"const": n} for n in range(20)]}}
    operations = [_put(f"k{n}", [19] * 30, schema=schema) for n in range(60)]

    status, _ = await _post(service, LOCAL + "/changes?dry_run=true", {"operations": operations})
    costly = [{**item, "schema": HALF_COSTLY_SCHEMA} for item in operations]
    refused_status, problem = await _post(
        service, LOCAL + "/changes?dry_run=true", {"operations": costly}
    )

    assert (status, refused_status, problem["code"]) == (200, 422, "schema_too_costly")


async def test_restore_of_unsupported_schema_succeeds(service: Service) -> None:
    """Earlier releases accepted an inner $id. Such an entry can be read and restored."""
    schema = {"items": {"$id": "http://a.example/b", "type": "integer"}}
    content = Content(kind=Kind.SETTING, value=[1], schema=schema)
    operation = Operation(key="old", content=content, expected=ABSENT)
    await service.app[DATABASE].transact(
        lambda c: changes.apply(c, "local", [operation], actor="test", authority=OPERATOR_AUTHORITY)
    )
    await service.client.delete(LOCAL + "/configurations/old", headers={"If-Match": '"1"'})

    status, _ = await _post(service, LOCAL + "/restore", {"revision": 1})
    read = await service.client.get(LOCAL + "/configurations/old?min_revision=3")

    assert (status, read.status, (await read.json())["schema"]) == (200, 200, schema)


async def test_change_set_many_violations_names_the_first(service: Service) -> None:
    operations = [_put(f"k{n}", "x", schema={"type": "integer"}) for n in range(150)]

    status, problem = await _post(service, LOCAL + "/changes", {"operations": operations})

    assert (status, problem["code"]) == (422, "operations_invalid")
    fields = [error["field"] for error in problem["errors"]]
    assert fields == [f"operations[{n}].value" for n in range(100)]


async def test_change_set_of_environments_is_all_or_nothing(service: Service) -> None:
    both = [_put("k", 1), _put("k", 1, environment="staging")]
    first_status, first = await _post(service, LOCAL + "/changes", {"operations": both})
    half = [_put("new", 1), _put("k", 1, environment="staging")]
    second_status, _ = await _post(service, LOCAL + "/changes", {"operations": half})

    assert first_status == 200
    assert [(c["environment"], c["revision"]) for c in first["change_sets"]] == [
        ("local", 1),
        ("staging", 1),
    ]
    assert second_status == 412
    assert await _state(service) == {"k": 1}


async def test_change_set_needs_a_token_for_each_environment(service: Service) -> None:
    token = await service.token(Scope.WRITE, Scope.READ, environments=("local",))
    headers = {"Authorization": f"Bearer {token}"}

    written = await service.stranger.post(
        LOCAL + "/changes",
        json={"operations": [_put("k", 1, environment="staging")]},
        headers=headers,
    )
    promoted = await service.stranger.post(
        LOCAL + "/promote", json={"from": "staging", "keys": ["k"]}, headers=headers
    )
    compared = await service.stranger.get(LOCAL + "/diff?against=staging", headers=headers)

    assert (written.status, promoted.status, compared.status) == (403, 403, 403)


async def test_write_without_read_scope_hides_the_state_before(service: Service) -> None:
    await _post(service, LOCAL + "/changes", {"operations": [_put("a", "what was there")]})
    token = await service.token(Scope.WRITE)
    headers = {"Authorization": f"Bearer {token}"}

    answers = [
        await service.stranger.post(LOCAL + path, json=body, headers=headers)
        for path, body in (
            ("/changes?dry_run=true", {"operations": [_put("a", 2, 1)]}),
            ("/changes/1/revert?dry_run=true", {}),
            ("/restore?dry_run=true", {"revision": 0}),
            ("/promote?dry_run=true", {"from": "local", "keys": ["a"]}),
        )
    ]

    assert [answer.status for answer in answers] == [200, 403, 403, 403]
    for answer in answers:
        assert "what was there" not in await answer.text()


@pytest.mark.slow
async def test_restore_of_more_than_10000_entries_is_complete(
    service: Service, server: Server
) -> None:
    """A read that was cut off by a limit would let the restore delete the other entries."""
    many = 10_050
    with server.admin("suite") as connection:
        connection.execute("set search_path = flagstone")
        connection.execute(
            "insert into change_sets (environment, revision, kind, actor) "
            "values ('local', 1, 'edit', 'many')"
        )
        connection.execute(
            "insert into changes "
            "(environment, revision, key, after_kind, after_value, after_version) "
            "select 'local', 1, 'k' || n, 'setting', '1', 1 from generate_series(1, %s) as n",
            [many],
        )
        connection.execute(
            "insert into configurations (environment, key, kind, value, version, updated_revision) "
            "select 'local', 'k' || n, 'setting', '1', 1, 1 from generate_series(1, %s) as n",
            [many],
        )
        connection.execute("update environments set revision = 1 where name = 'local'")
    gone = [{"op": "delete", "key": f"k{n}", "version": 1} for n in (1, 9_999, many)]
    await _post(service, LOCAL + "/changes", {"operations": gone})

    status, result = await _post(service, LOCAL + "/restore", {"revision": 1})

    assert status == 200
    assert {c["key"] for c in result["change_sets"][0]["changes"]} == {"k1", "k9999", f"k{many}"}


@pytest.mark.slow
async def test_change_set_needs_an_existing_environment_in_its_path(
    service: Service,
) -> None:
    operation = _put("a", 1, environment="local")

    status, problem = await _post(
        service, "/v1/environments/nowhere/changes", {"operations": [operation]}
    )

    assert (status, problem["code"]) == (404, "environment_unknown")
    assert (await _get(service, LOCAL))["revision"] == 0


async def test_dry_run_shows_the_changes_and_writes_nothing(service: Service) -> None:
    await _three_revisions(service)

    status, result = await _post(
        service, LOCAL + "/changes?dry_run=true", {"operations": [_put("c", {"x": 2}, 1)]}
    )
    put = await service.client.put(
        LOCAL + "/configurations/c?dry_run=true", json={"value": 5}, headers={"If-Match": '"1"'}
    )
    stale, _ = await _post(
        service, LOCAL + "/changes?dry_run=true", {"operations": [_put("c", 1, 7)]}
    )

    change = result["change_sets"][0]["changes"][0]
    assert (status, result["dry_run"], result["change_sets"][0]["revision"]) == (200, True, 4)
    assert change["patch"] == [{"op": "replace", "path": "/x", "value": 2}]
    assert (put.status, (await put.json())["dry_run"], "ETag" in put.headers) == (200, True, False)
    assert stale == 412
    assert (await _get(service, LOCAL))["revision"] == 3


async def test_dry_run_refuses_a_bad_idempotency_key(
    service: Service,
) -> None:
    odd = {"Idempotency-Key": "x" * 201}

    put = await service.client.put(
        LOCAL + "/configurations/a?dry_run=true",
        json={"value": 1},
        headers=odd | {"If-None-Match": "*"},
    )
    restore = await service.client.post(
        LOCAL + "/restore?dry_run=true", json={"revision": 0}, headers=odd
    )

    assert (put.status, restore.status) == (400, 400)


async def test_past_revision_is_read_as_it_was(service: Service) -> None:
    await _three_revisions(service)

    states = [await _state(service, revision=str(n)) for n in range(4)]
    one = await service.client.get(LOCAL + "/configurations/a?revision=1")
    gone = await service.client.get(LOCAL + "/configurations/b?revision=3")
    ahead = await service.client.get(LOCAL + "/configurations?revision=4")
    page = await _get(service, LOCAL + "/configurations?revision=2&limit=2")

    assert states == [
        {},
        {"a": 1, "b": 1},
        {"a": 2, "b": 1, "c": {"x": 1}},
        {"a": 2, "c": {"x": 1}},
    ]
    assert ((await one.json())["value"], one.headers["ETag"][:3]) == (1, '"1-')
    assert one.headers["Flagstone-Revision"].endswith(":1")
    assert (gone.status, ahead.status) == (404, 404)
    assert ([item["key"] for item in page["items"]], page["next"]) == (["a", "b"], "b")


async def test_key_history_lists_the_latest_first(service: Service) -> None:
    await _three_revisions(service)

    history = await _get(service, LOCAL + "/configurations/b/history")
    first = await _get(service, LOCAL + "/configurations/a/history?limit=1")
    rest = await _get(service, LOCAL + f"/configurations/a/history?before={first['next']}")
    never = await service.client.get(LOCAL + "/configurations/never/history")

    assert (history["items"][0]["revision"], history["items"][0]["after"]) == (3, None)
    assert history["items"][1]["after"]["value"] == 1
    assert [item["revision"] for item in first["items"] + rest["items"]] == [2, 1]
    assert rest["next"] is None
    assert never.status == 404


async def test_key_ending_in_history_needs_an_escaped_slash(
    service: Service,
) -> None:
    place = URL(f"{service.url}{LOCAL}/configurations/a%2Fhistory", encoded=True)
    new = {"If-None-Match": "*"}

    result = await service.client.put(place, json={"value": 1}, headers=new)
    entry = await service.client.get(place)
    history = await service.client.get(URL(f"{place}/history", encoded=True))
    unescaped = await service.client.put(
        LOCAL + "/configurations/a/history", json={"value": 1}, headers=new
    )

    assert result.headers["Location"] == place.raw_path
    assert (await entry.json())["key"] == "a/history"
    assert (await history.json())["items"][0]["revision"] == 1
    # One URL must not be a history for GET and an entry for PUT.
    assert (unescaped.status, unescaped.headers["Allow"]) == (405, "GET,HEAD")


async def test_change_sets_are_listed_in_pages(service: Service) -> None:
    await _three_revisions(service)

    first = await _get(service, LOCAL + "/changes?limit=2")
    rest = await _get(service, LOCAL + f"/changes?before={first['next']}")

    assert [item["revision"] for item in first["items"] + rest["items"]] == [3, 2, 1]
    assert rest["next"] is None
    assert [change["key"] for change in first["items"][1]["changes"]] == ["a", "c"]


async def test_page_of_large_change_sets_ends_early(service: Service) -> None:
    for n in range(4):
        operations = [_put(f"{n}/{k}", os.urandom(60_000).hex()) for k in range(7)]
        status, _ = await _post(service, LOCAL + "/changes", {"operations": operations})
        assert status == 200

    result: list[int] = []
    before = ""
    while True:
        page = await _get(service, LOCAL + "/changes?limit=500" + before)
        assert len(page["items"]) < 20
        result += [item["revision"] for item in page["items"]]
        if page["next"] is None:
            break
        before = f"&before={page['next']}"

    assert result == [4, 3, 2, 1]


async def test_difference_of_revisions_and_of_environments(service: Service) -> None:
    await _three_revisions(service)
    await _post(service, STAGING + "/changes", {"operations": [_put("a", 2)]})

    between = await _get(service, LOCAL + "/diff?from=1&to=2")
    until_now = await _get(service, LOCAL + "/diff?from=1")
    against = await _get(service, LOCAL + "/diff?against=staging")
    wrong = [
        (await service.client.get(LOCAL + "/diff" + query)).status
        for query in ("", "?to=1", "?from=1&against=staging", "?from=9", "?from=x")
    ]

    assert [(c["key"], c["patch"]) for c in between["changes"]] == [
        ("a", [{"op": "replace", "path": "", "value": 2}]),
        ("c", []),
    ]
    assert [c["key"] for c in until_now["changes"]] == ["a", "b", "c"]
    # Versions differ between environments and are ignored.
    assert [(c["key"], c["after"]) for c in against["changes"]] == [("c", None)]
    assert wrong == [400, 400, 400, 404, 400]


async def test_revert_makes_a_new_change_set(service: Service) -> None:
    await _three_revisions(service)

    status, result = await _post(service, LOCAL + "/changes/2/revert", {})

    outcome = await _get(service, LOCAL + "/changes/4")
    assert (status, result["change_sets"][0]["revision"]) == (200, 4)
    assert await _state(service) == {"a": 1}
    assert (outcome["kind"], outcome["message"]) == ("revert", "Revert revision 2")


async def test_revert_names_each_key_changed_since(service: Service) -> None:
    await _three_revisions(service)

    status, problem = await _post(service, LOCAL + "/changes/1/revert", {})
    unknown, _ = await _post(service, LOCAL + "/changes/9/revert", {})

    assert (status, unknown) == (412, 404)
    assert {error["rule"] for error in problem["errors"]} == {
        "a is at version 2",
        "b does not exist",
    }


async def test_restore_brings_a_whole_environment_back(service: Service) -> None:
    await _three_revisions(service)

    tried, preview = await _post(service, LOCAL + "/restore?dry_run=true", {"revision": 1})
    status, result = await _post(service, LOCAL + "/restore", {"revision": 1, "message": "Tuesday"})
    again_status, again = await _post(service, LOCAL + "/restore", {"revision": 1})
    empty, _ = await _post(service, LOCAL + "/restore", {"revision": 0})
    after_all = await _state(service)
    ahead, _ = await _post(service, LOCAL + "/restore", {"revision": 99})

    assert (tried, status, again_status, empty, ahead) == (200, 200, 200, 200, 404)
    assert preview["change_sets"][0]["changes"] == result["change_sets"][0]["changes"]
    assert preview["change_sets"][0]["revision"] == result["change_sets"][0]["revision"]
    assert {
        c["key"]: c["after"] and c["after"]["value"] for c in result["change_sets"][0]["changes"]
    } == {
        "a": 1,
        "b": 1,
        "c": None,
    }
    assert again["change_sets"] == []
    assert after_all == {}
    assert await _state(service, revision="4") == {"a": 1, "b": 1}


async def test_restore_may_bring_back_an_older_kind(service: Service) -> None:
    """An edit cannot change the kind of a key, but a deletion and a new entry can."""
    await _post(service, LOCAL + "/changes", {"operations": [_put("k", flag(), kind="flag")]})
    await _post(
        service, LOCAL + "/changes", {"operations": [{"op": "delete", "key": "k", "version": 1}]}
    )
    await _post(service, LOCAL + "/changes", {"operations": [_put("k", 1)]})

    status, _ = await _post(service, LOCAL + "/restore", {"revision": 1})

    result = await _get(service, LOCAL + "/configurations/k")
    assert (status, result["kind"], result["value"], result["version"]) == (200, "flag", flag(), 3)


async def test_promotion_of_a_flag_includes_its_segments(service: Service) -> None:
    inner = {"in": ["@example.org", {"var": "email"}]}
    outer = {"or": [{"$ref": "inner"}]}
    shop = flag(targeting={"if": [{"$ref": "ours"}, "on", "off"]})
    await _post(
        service,
        LOCAL + "/changes",
        {
            "operations": [
                _put("new-shop", shop, kind="flag"),
                _put("ours", outer, kind="segment"),
                _put("inner", inner, kind="segment"),
                _put("other", 1),
            ]
        },
    )
    await _post(service, STAGING + "/changes", {"operations": [_put("old", 1)]})

    status, result = await _post(
        service, STAGING + "/promote", {"from": "local", "keys": ["new-shop", "old"]}
    )
    again_status, again = await _post(
        service, STAGING + "/promote", {"from": "local", "keys": ["new-shop"]}
    )
    unknown_status, unknown = await _post(
        service, STAGING + "/promote", {"from": "local", "keys": ["nowhere"]}
    )
    itself, _ = await _post(service, LOCAL + "/promote", {"from": "local", "keys": ["other"]})

    assert status == 200
    assert [c["key"] for c in result["change_sets"][0]["changes"]] == [
        "inner",
        "new-shop",
        "old",
        "ours",
    ]
    assert await _state(service, STAGING) == {
        "inner": inner,
        "new-shop": shop,
        "ours": outer,
    }
    assert (again_status, again["change_sets"]) == (200, [])
    assert (unknown_status, unknown["errors"][0]["field"], itself) == (404, "nowhere", 422)


async def test_repeated_change_set_is_made_once(service: Service) -> None:
    body = {"operations": [_put("a", 1)]}

    answers = await asyncio.gather(
        *(_post(service, LOCAL + "/changes", body, **{"Idempotency-Key": "x"}) for _ in range(5))
    )

    assert {status for status, _ in answers} == {200}
    assert all(answer == answers[0][1] for _, answer in answers)
    assert (await _get(service, LOCAL))["revision"] == 1


async def test_changes_applied_in_order_give_the_state(service: Service) -> None:
    await _three_revisions(service)
    await _post(service, LOCAL + "/restore", {"revision": 1})
    state: dict[str, object] = {}

    page = await _get(service, LOCAL + "/changes")
    for change_set in reversed(page["items"]):
        for change in change_set["changes"]:
            assert (change["before"] and change["before"]["value"]) == state.get(change["key"])
            if change["after"] is None:
                del state[change["key"]]
            else:
                state[change["key"]] = change["after"]["value"]

    assert state == await _state(service)


async def test_writers_of_two_environments_do_not_deadlock(service: Service) -> None:
    async def write(n: int) -> int:
        operations = [_put(f"k{n}", 1), _put(f"k{n}", 1, environment="staging")]
        place = LOCAL
        if n % 2:
            operations.reverse()
            place = STAGING
            operations[0]["environment"] = "staging"
            operations[1]["environment"] = "local"
        status, _ = await _post(service, place + "/changes", {"operations": operations})
        return status

    statuses = await asyncio.gather(*(write(n) for n in range(20)))

    assert set(statuses) == {200}


async def test_time_selects_the_latest_revision_before_it(service: Service, server: Server) -> None:
    """The times are years apart, because the test is not about the clock."""
    await _three_revisions(service)
    with server.admin("suite") as connection:
        connection.execute(
            "update flagstone.change_sets "
            "set created_at = make_timestamptz(2020 + revision::int, 1, 1, 0, 0, 0, 'UTC')"
        )

    first, second = "2021-06-01T00:00:00Z", "2022-06-01T02:00:00+02:00"
    before = await _state(service, at="2020-06-01T00:00:00Z")
    states = [await _state(service, at=at) for at in (first, second)]
    one = await service.client.get(LOCAL + "/configurations/a", params={"at": first})
    exported = await service.client.get(LOCAL + "/export", params={"at": first})
    status, result = await _post(service, LOCAL + "/restore", {"at": first})

    assert before == {}
    assert states == [{"a": 1, "b": 1}, {"a": 2, "b": 1, "c": {"x": 1}}]
    assert ((await one.json())["value"], one.headers["Flagstone-Revision"][-2:]) == (1, ":1")
    assert list((await exported.json())["entries"]) == ["a", "b"]
    assert (status, await _state(service)) == (200, {"a": 1, "b": 1})
    assert result["change_sets"][0]["revision"] == 4


async def test_time_between_revisions_out_of_order_gives_the_later(
    service: Service, server: Server
) -> None:
    """The second transaction began before the first and waited for it."""
    await _three_revisions(service)
    with server.admin("suite") as connection:
        connection.execute(
            "update flagstone.change_sets set created_at = "
            "'2021-01-01T10:00:00Z'::timestamptz "
            "+ (array[2, 1, 30])[revision::int] * interval '1 second'"
        )

    states = [
        await _state(service, at=f"2021-01-01T10:00:{second}Z") for second in ("01.5", "02.5")
    ]

    assert states == [{"a": 2, "b": 1, "c": {"x": 1}}] * 2


@pytest.mark.parametrize("at", ["yesterday", "2021-06-01", "2021-06-01T00:00:00", ""])
async def test_time_without_offset_is_refused(service: Service, at: str) -> None:
    read = await service.client.get(LOCAL + "/configurations", params={"at": at})
    both = await service.client.get(LOCAL + f"/configurations?revision=0&at={at}")
    restored, _ = await _post(service, LOCAL + "/restore", {"at": at})
    neither, _ = await _post(service, LOCAL + "/restore", {})

    assert (read.status, both.status, restored, neither) == (400, 400, 422, 422)


@pytest.mark.slow
async def test_past_page_of_large_values_ends_early(service: Service) -> None:
    """Twenty versions of 0.25 MiB exceed the limit of a page of the past."""
    large = "x" * 250_000
    for n in range(20):
        await _post(
            service,
            LOCAL + "/changes",
            {"operations": [_put("a", f"{n}{large}", n), _put(f"k{n}", large)]},
        )

    history = await _get(service, LOCAL + "/configurations/a/history")
    older = await _get(service, LOCAL + f"/configurations/a/history?before={history['next']}")
    keys: list[str] = []
    after: str | None = ""
    pages = 0
    while after is not None:
        page = await _get(service, LOCAL + f"/configurations?revision=20&after={after}")
        keys += [item["key"] for item in page["items"]]
        after, pages = page["next"], pages + 1

    assert history["next"] is not None
    assert len(history["items"]) < 20
    revisions = [item["revision"] for item in history["items"] + older["items"]]
    assert revisions == list(range(20, 20 - len(revisions), -1))
    assert (len(keys), keys == sorted(keys), pages > 1) == (21, True, True)
