"""Properties of environments and their history, and the creation of environments."""

import asyncio
import json
from datetime import datetime
from operator import itemgetter
from typing import Any

import pytest

from app.access.models import Scope
from app.configuration.changes.chain import GENESIS, link_hash
from app.configuration.changes.models import ChangeKind, Link, PropertiesChange
from app.configuration.changes.properties import METADATA_BYTES_MAX
from app.configuration.snapshots.reading import FOLLOWER
from app.environments.models import Properties
from app.environments.service import ENVIRONMENTS_MAX
from app.http.keys import DATABASE
from tests.conftest import Server, Service
from tests.factories import flag

ENVIRONMENTS = "/v1/environments"
LOCAL = ENVIRONMENTS + "/local"
STAGING = ENVIRONMENTS + "/staging"
FIRST = {"metadata": {}, "fractional": "v3", "protected": False, "version": 1, "protection": None}
# The two generations of bucketing put this targeting key into different halves.
HALVES = {"fractional": [["on", 50], ["off", 50]]}


async def _send(
    service: Service, method: str, path: str, body: object = None, **headers: str
) -> tuple[int, Any]:
    session = service.stranger if "Authorization" in headers else service.client
    answer = await session.request(method, path, json=body, headers=headers)
    return answer.status, await answer.json(content_type=None)


async def _patch(
    service: Service, version: int | str = "*", query: str = "", **members: Any
) -> tuple[int, Any]:
    tag = version if version == "*" else f'"{version}"'
    return await _send(service, "PATCH", LOCAL + query, members, **{"If-Match": tag})


async def _get(service: Service, path: str) -> Any:
    return (await _send(service, "GET", path))[1]


async def _properties(service: Service, path: str = LOCAL) -> dict[str, Any]:
    result = await _get(service, path)
    return {name: result[name] for name in FIRST}


async def _put(service: Service, key: str, value: object, **members: Any) -> None:
    status, content = await _send(
        service,
        "PUT",
        f"{LOCAL}/configurations/{key}",
        {"value": value, **members},
        **{"If-None-Match": "*"},
    )
    assert status == 201, content


def _bearer(token: str, **headers: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}", **headers}


async def test_patch_of_properties_makes_one_revision(service: Service) -> None:
    await _put(service, "a", 1)

    status, result = await _patch(
        service, 1, metadata={"owner": "shop", "paid": True}, message="why"
    )

    (change_set,) = result["change_sets"]
    after = FIRST | {"metadata": {"owner": "shop", "paid": True}, "version": 2}
    reported = await _get(service, f"{LOCAL}/changes/2")
    assert (status, change_set["revision"], change_set["changes"]) == (200, 2, [])
    assert (reported["kind"], reported["message"], reported["changes"]) == ("edit", "why", [])
    for properties in (change_set["properties"], reported["properties"]):
        # In the order of the members; jsonb has an order of its own.
        assert sorted(properties.pop("patch"), key=itemgetter("path")) == [
            {"op": "add", "path": "/metadata/owner", "value": "shop"},
            {"op": "add", "path": "/metadata/paid", "value": True},
        ]
        assert properties == {"before": FIRST, "after": after}
    assert await _properties(service) == after


async def test_patch_merges_members_and_null_removes_them(service: Service) -> None:
    await _patch(service, 1, metadata={"a": 1, "b": "2", "c": True})
    await _patch(service, 2, metadata={"a": 1.5, "b": None, "nothing": None})
    merged = await _properties(service)
    await _patch(service, 3, metadata=None)

    assert merged["metadata"] == {"a": 1.5, "c": True}
    assert await _properties(service) == FIRST | {"version": 4}


async def test_patch_accepts_both_media_types(service: Service) -> None:
    headers = {"Content-Type": "application/merge-patch+json", "If-Match": "*"}
    answer = await service.client.patch(LOCAL, data=b'{"metadata": {"a": 1}}', headers=headers)
    refused = await service.client.patch(
        LOCAL, data=b"[]", headers=headers | {"Content-Type": "application/json-patch+json"}
    )

    assert answer.status == 200
    assert (refused.status, (await _properties(service))["metadata"]) == (415, {"a": 1})


async def test_patch_with_stale_or_missing_version_is_refused(service: Service) -> None:
    await _patch(service, 1, metadata={"a": 1})

    stale = await _patch(service, 1, metadata={"a": 2})
    missing = await _send(service, "PATCH", LOCAL, {"metadata": {"a": 2}})

    assert (stale[0], stale[1]["code"], stale[1]["version"]) == (412, "version_stale", 2)
    assert stale[1]["errors"] == [{"field": "environment", "rule": "is at version 2"}]
    assert (missing[0], missing[1]["code"]) == (428, "condition_missing")
    assert (await _get(service, LOCAL))["revision"] == 1


async def test_patch_after_an_edit_of_a_key_succeeds(service: Service) -> None:
    await _put(service, "a", 1)
    await _put(service, "b", 1)

    assert (await _patch(service, 1, metadata={"a": 1}))[0] == 200


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "metadata"),
        ({"message": "only"}, "metadata"),
        ({"metadata": {}}, "metadata"),
        ({"metadata": []}, "metadata"),
        ({"metadata": {"a": []}}, "metadata.a"),
        ({"metadata": {"a": {"b": 1}}}, "metadata.a"),
        ({"metadata": {"": 1}}, "metadata"),
        ({"metadata": {"n" * 256: 1}}, "metadata"),
        ({"fractional": "v1"}, "fractional"),
        ({"fractional": None}, "fractional"),
        ({"protected": "yes"}, "protected"),
        ({"protected": None}, "protected"),
        ({"tier": "local"}, "body"),
        ({"name": "other"}, "body"),
        ({"metadata": {"a": 1}, "message": "m" * 1_001}, "message"),
    ],
)
async def test_invalid_patch_names_the_member(
    service: Service, body: dict[str, Any], field: str
) -> None:
    status, problem = await _patch(service, **body)

    assert (status, problem["errors"][0]["field"]) == (422, field)
    assert (await _get(service, LOCAL))["revision"] == 0


async def test_metadata_over_4_kib_is_refused(service: Service) -> None:
    half = "x" * (METADATA_BYTES_MAX // 2)
    first, _ = await _patch(service, metadata={"a": half})

    status, problem = await _patch(service, metadata={"b": half})

    assert (first, status, problem["code"]) == (200, 413, "value_too_large")
    assert (await _properties(service))["version"] == 2


async def test_metadata_is_returned_as_sent(service: Service) -> None:
    odd = {"é 𝄞": "\x7f\n\\", "a.b/c~d": -0.0, "n": 1e300, "m": 2**53, "": 1} | {"x" * 255: ""}
    del odd[""]

    status, _ = await _patch(service, metadata=odd)

    assert status == 200
    assert (await _properties(service))["metadata"] == odd


async def test_dry_run_of_a_patch_writes_nothing(service: Service) -> None:
    status, result = await _patch(service, 1, "?dry_run=true", metadata={"a": 1}, fractional="v2")

    assert (status, result["dry_run"]) == (200, True)
    assert result["change_sets"][0]["properties"]["after"] == {
        "metadata": {"a": 1},
        "fractional": "v2",
        "protected": False,
        "version": 2,
        "protection": None,
    }
    assert await _properties(service) == FIRST
    assert (await _get(service, LOCAL))["revision"] == 0


async def test_repeated_patch_is_made_once(service: Service) -> None:
    headers = {"If-Match": '"1"', "Idempotency-Key": "once"}

    first = await _send(service, "PATCH", LOCAL, {"metadata": {"a": 1}}, **headers)
    again = await _send(service, "PATCH", LOCAL, {"metadata": {"a": 1}}, **headers)

    assert first == again
    assert (await _get(service, LOCAL))["revision"] == 1


async def test_one_of_two_concurrent_patches_wins(service: Service) -> None:
    answers = await asyncio.gather(*(_patch(service, 1, metadata={"n": n}) for n in range(5)))

    assert sorted(status for status, _ in answers) == [200, 412, 412, 412, 412]
    assert (await _get(service, LOCAL))["revision"] == 1


async def test_fractional_and_protected_need_the_scope_admin(service: Service) -> None:
    """By a patch, an operation, a revert and a restore."""
    token = await service.token(Scope.READ, Scope.WRITE)
    asked = _bearer(token, **{"If-Match": "*"})
    operation = {"op": "patch", "version": 3, "fractional": "v3"}
    await _patch(service, 1, fractional="v2")
    await _patch(service, 2, protected=True)

    allowed = await _send(
        service, "PATCH", LOCAL, {"metadata": {"a": 1}, "fractional": "v2"}, **asked
    )
    await _send(service, "POST", f"{LOCAL}/changes/3/revert", {}, **_bearer(token))
    refused = [
        await _send(service, "PATCH", LOCAL, {"fractional": "v3"}, **asked),
        await _send(service, "PATCH", LOCAL, {"protected": False}, **asked),
        await _send(
            service,
            "POST",
            f"{LOCAL}/changes",
            {"operations": [operation | {"version": 5}]},
            **_bearer(token),
        ),
        await _send(service, "POST", f"{LOCAL}/restore", {"revision": 0}, **_bearer(token)),
    ]

    assert allowed[0] == 200, allowed
    assert {(status, problem["code"]) for status, problem in refused} == {(403, "scope_missing")}
    assert await _properties(service) == {
        "metadata": {},
        "fractional": "v2",
        "protected": True,
        "version": 5,
        "protection": None,
    }


async def test_patch_without_read_scope_hides_the_state_before(service: Service) -> None:
    await _patch(service, metadata={"hidden": "canary"})
    token = await service.token(Scope.WRITE)

    headers = _bearer(token, **{"If-Match": "*"})
    status, result = await _send(service, "PATCH", LOCAL, {"metadata": {"a": 1}}, **headers)

    assert (status, "canary" in json.dumps(result)) == (200, False)


async def test_change_set_of_keys_and_properties_is_atomic(service: Service) -> None:
    operations: list[dict[str, Any]] = [
        {"op": "put", "key": "a", "version": 0, "value": 1},
        {"op": "patch", "version": 1, "metadata": {"n": 1}},
        {"op": "patch", "version": 1, "metadata": {"n": 2}, "environment": "staging"},
    ]

    status, result = await _send(service, "POST", f"{LOCAL}/changes", {"operations": operations})
    operations[0] |= {"version": 1, "value": 2}
    again = await _send(service, "POST", f"{LOCAL}/changes", {"operations": operations})

    local, staging = result["change_sets"]
    assert (status, local["revision"], staging["revision"]) == (200, 1, 1)
    assert [item["key"] for item in local["changes"]] == ["a"]
    assert local["properties"]["after"]["metadata"] == {"n": 1}
    assert (await _properties(service, STAGING))["metadata"] == {"n": 2}
    # All operations or none.
    assert (again[0], await _get(service, f"{LOCAL}/configurations/a")) == (
        412,
        {**await _get(service, f"{LOCAL}/configurations/a"), "value": 1},
    )


@pytest.mark.parametrize(
    ("operation", "field"),
    [
        ({"version": 1}, "operations[1].metadata"),
        ({"version": 1, "metadata": {"a": []}}, "operations[1].metadata.a"),
        ({"version": 0, "metadata": {"a": 1}}, "operations[1].version"),
        ({"version": 1, "metadata": {"a": 1}, "key": "a"}, "operations[1]"),
    ],
)
async def test_invalid_patch_operation_is_named(
    service: Service, operation: dict[str, Any], field: str
) -> None:
    operations = [{"op": "put", "key": "a", "version": 0, "value": 1}, {"op": "patch"} | operation]

    status, problem = await _send(service, "POST", f"{LOCAL}/changes", {"operations": operations})

    assert (status, problem["errors"][0]["field"]) == (422, field)


async def test_second_patch_of_an_environment_is_refused(service: Service) -> None:
    operations = [{"op": "patch", "version": 1, "metadata": {"a": 1}}] * 2

    status, problem = await _send(service, "POST", f"{LOCAL}/changes", {"operations": operations})

    assert status == 422
    assert problem["errors"] == [{"field": "operations[1].op", "rule": "must be named once"}]


# The past


async def _some_history(service: Service) -> None:
    """Revision 1: a key. 2: metadata. 3: a key. 4: metadata and fractional. 5: a key."""
    await _put(service, "a", 1)
    await _patch(service, metadata={"n": 2})
    await _put(service, "b", 1)
    await _patch(service, metadata={"n": 4}, fractional="v2")
    await _put(service, "c", 1)


async def test_past_environment_has_its_past_properties(service: Service) -> None:
    await _some_history(service)

    results = [await _get(service, f"{LOCAL}?revision={n}") for n in range(6)]
    at = await _get(service, f"{LOCAL}/changes/3")
    then = await service.client.get(LOCAL, params={"at": at["created_at"]})
    unknown, _ = await _send(service, "GET", f"{LOCAL}?revision=6")

    assert [(item["revision"], item["metadata"], item["version"]) for item in results] == [
        (0, {}, 1),
        (1, {}, 1),
        (2, {"n": 2}, 2),
        (3, {"n": 2}, 2),
        (4, {"n": 4}, 3),
        (5, {"n": 4}, 3),
    ]
    assert [item["fractional"] for item in results] == ["v3"] * 4 + ["v2"] * 2
    assert (await then.json())["revision"] == 3
    assert then.headers["Flagstone-Revision"].endswith(":3")
    assert unknown == 404


async def test_past_without_patches_has_the_current_properties(
    service: Service, server: Server
) -> None:
    """The metadata is older than the history of properties."""
    with server.admin("suite") as connection:
        connection.execute(
            """update flagstone.environments set metadata = '{"old": 1}' where name = 'local'"""
        )
    await _put(service, "a", 1)
    before = await _get(service, f"{LOCAL}?revision=0")
    await _patch(service, metadata={"old": 2})

    assert before["metadata"] == {"old": 1}
    assert (await _get(service, f"{LOCAL}?revision=0"))["metadata"] == {"old": 1}
    assert (await _get(service, f"{LOCAL}?revision=1"))["metadata"] == {"old": 1}
    assert (await _get(service, f"{LOCAL}?revision=2"))["metadata"] == {"old": 2}


async def test_difference_shows_the_properties(service: Service) -> None:
    await _some_history(service)

    spanning = await _get(service, f"{LOCAL}/diff?from=1&to=4")
    keys_alone = await _get(service, f"{LOCAL}/diff?from=2&to=3")
    between = await _get(service, f"{LOCAL}/diff?against=staging")

    assert [item["key"] for item in spanning["changes"]] == ["b"]
    assert spanning["properties"]["patch"] == [
        {"op": "add", "path": "/metadata/n", "value": 4},
        {"op": "replace", "path": "/fractional", "value": "v2"},
    ]
    assert keys_alone["properties"] is None
    assert between["properties"]["after"] == FIRST


async def test_revert_of_a_patch_restores_the_properties(service: Service) -> None:
    await _some_history(service)

    status, result = await _send(service, "POST", f"{LOCAL}/changes/4/revert", {})

    (change_set,) = result["change_sets"]
    assert (status, change_set["changes"]) == (200, [])
    assert await _properties(service) == FIRST | {"metadata": {"n": 2}, "version": 4}


async def test_revert_of_properties_changed_since_is_refused(service: Service) -> None:
    await _some_history(service)

    status, problem = await _send(service, "POST", f"{LOCAL}/changes/2/revert", {})

    assert (status, problem["version"]) == (412, 3)
    assert problem["errors"] == [{"field": "environment", "rule": "is at version 3"}]


async def test_restore_brings_properties_back_except_protected(
    service: Service,
) -> None:
    await _some_history(service)
    await _patch(service, protected=True)

    dry = await _send(service, "POST", f"{LOCAL}/restore?dry_run=true", {"revision": 2})
    untouched = await _properties(service)
    status, result = await _send(service, "POST", f"{LOCAL}/restore", {"revision": 2})
    again = await _send(service, "POST", f"{LOCAL}/restore", {"revision": 2})

    assert (dry[0], untouched["metadata"]) == (200, {"n": 4})
    assert (status, len(result["change_sets"])) == (200, 1)
    assert await _properties(service) == {
        "metadata": {"n": 2},
        "fractional": "v3",
        "protected": True,
        "version": 5,
        "protection": None,
    }
    assert again[1]["change_sets"] == []


async def test_promotion_leaves_properties_unchanged(service: Service) -> None:
    await _patch(service, metadata={"a": 1})
    await _put(service, "a", 1)

    status, result = await _send(
        service, "POST", f"{STAGING}/promote", {"from": "local", "keys": ["a"]}
    )

    assert (status, result["change_sets"][0]["properties"]) == (200, None)
    assert await _properties(service, STAGING) == FIRST


async def test_past_flag_is_evaluated_with_past_properties(service: Service) -> None:
    """With the metadata and the fractional of that revision."""
    await _put(service, "new", flag(targeting=HALVES), kind="flag")
    await _patch(service, metadata={"n": 1}, fractional="v2")
    await _patch(service, metadata={"n": 2}, fractional="v3")

    async def split(**query: Any) -> tuple[list[str], Any]:
        results = []
        for number in range(40):
            body = {"context": {"targetingKey": f"u{number}"}, **query}
            _, evaluation = await _send(service, "POST", f"{LOCAL}/flags/new/evaluate", body)
            results.append(evaluation["outcome"])
        return [item["variant"] for item in results], results[0].get("metadata")

    now, first, second, third = (
        await split(),
        await split(revision=1),
        await split(revision=2),
        await split(revision=3),
    )

    assert [item[1] for item in (now, first, second, third)] == [{"n": 2}, None, {"n": 1}, {"n": 2}]
    assert now[0] == first[0] == third[0] != second[0]


async def test_chain_covers_the_properties(service: Service) -> None:
    """The hash of the stored change set, computed again, equals the hash that was written."""
    await _put(service, "a", 1)
    await _patch(service, metadata={"n": 1e300, "é": 1.0}, message="why")
    items = (await _get(service, f"{LOCAL}/changes"))["items"]
    latest, first = items

    link = Link(
        environment="local",
        revision=2,
        kind=ChangeKind.EDIT,
        actor=latest["actor"],
        message="why",
        created_at=datetime.fromisoformat(latest["created_at"]),
        changes=[],
        properties=PropertiesChange(
            **{side: Properties(**latest["properties"][side]) for side in ("before", "after")}
        ),
    )
    hashed = link_hash(bytes.fromhex(first["hash"]), link)

    assert hashed.hex() == latest["hash"] == (await _get(service, LOCAL))["hash"]
    assert hashed != GENESIS


# Followers


async def test_stream_gets_an_event_of_a_patch(service: Service) -> None:
    await _put(service, "a", 1)
    await _patch(service, metadata={"n": 1}, message="why")

    answer = await service.client.get(
        f"{LOCAL}/events",
        headers={"Last-Event-ID": f"{(await _get(service, LOCAL))['epoch']}:0"},
    )
    results = []
    async for line in answer.content:
        if line.startswith(b"data: "):
            results.append(json.loads(line.removeprefix(b"data: ")))
        if len(results) == 2:
            break
    answer.close()

    assert [(item["keys"], item["properties"]) for item in results] == [(["a"], False), ([], True)]
    assert results[1]["message"] == "why"


async def test_patch_shows_in_ofrep_and_in_flagd_document(service: Service) -> None:
    await _put(service, "new", flag(), kind="flag")

    async def seen() -> tuple[Any, ...]:
        every = await service.client.post(f"{LOCAL}/ofrep/v1/evaluate/flags", json={})
        document = await service.client.get(f"{LOCAL}/flags.json")
        one = await service.client.post(f"{LOCAL}/ofrep/v1/evaluate/flags/new", json={})
        return (
            (every.headers["ETag"], document.headers["ETag"]),
            (await every.json())["metadata"],
            (await document.json()).get("metadata"),
            (await one.json()).get("metadata"),
        )

    before = await seen()
    # Python takes this number as equal to the value that it replaces.
    await _patch(service, metadata={"beta": True})
    described = await seen()
    await _patch(service, metadata={"beta": 1})
    after = await seen()

    assert before[1:] == ({}, None, None)
    assert described[1:] == ({"beta": True},) * 3
    assert all(item["beta"] is not True for item in after[1:])
    tags = [before[0], described[0], after[0]]
    assert len({etag for both in tags for etag in both}) == 6


async def test_patch_of_fractional_that_breaks_a_guard_is_refused(service: Service) -> None:
    await _put(service, "plain", flag(targeting=HALVES), kind="flag")
    counts: dict[str, set[str]] = {}
    for generation in ("v3", "v2"):
        await _patch(service, fractional=generation)
        for number in range(20):
            body = {"context": {"targetingKey": f"u{number}"}}
            _, evaluation = await _send(service, "POST", f"{LOCAL}/flags/plain/evaluate", body)
            counts.setdefault(f"u{number}", set()).add(evaluation["outcome"]["variant"])
    moved = next(key for key, variants in counts.items() if len(variants) == 2)
    body = {"context": {"targetingKey": moved}}
    _, evaluation = await _send(service, "POST", f"{LOCAL}/flags/plain/evaluate", body)
    guard = {**body, "variant": evaluation["outcome"]["variant"]}
    # The same key, because the key is a part of the seed.
    guarded = {"kind": "flag", "value": flag(targeting=HALVES, guards=[guard])}
    path = f"{LOCAL}/configurations/plain"
    assert (await _send(service, "PUT", path, guarded, **{"If-Match": "*"}))[0] == 200

    status, refused = await _patch(service, fractional="v3")

    assert (status, refused["code"]) == (422, "guard_broken")


# Files


async def _import(
    service: Service, document: object, query: str = "", place: str = LOCAL
) -> tuple[int, Any]:
    return await _send(service, "POST", f"{place}/import?format=flagd{query}", document)


def _document(**members: Any) -> dict[str, Any]:
    return {"flags": {"new": flag()}, **members}


async def test_flagd_document_moves_between_environments(service: Service) -> None:
    sent = _document(metadata={"flagSetId": "shop", "version": 3, "beta": True})

    status, imported = await _import(service, sent)
    document = await _get(service, f"{LOCAL}/flags.json")
    _, carried = await _import(service, document, "&mode=replace", STAGING)

    assert (status, imported["warnings"], carried["warnings"]) == (200, [], [])
    assert imported["properties"]["after"]["metadata"] == sent["metadata"]
    assert await _get(service, f"{STAGING}/flags.json") == document
    assert {name: document[name] for name in sent} == sent


async def test_import_by_merge_retains_members(service: Service) -> None:
    await _import(service, _document(metadata={"a": 1, "b": 1}))
    await _import(service, _document(metadata={"b": 2, "c": 2}))
    merged = await _properties(service)
    await _import(service, _document(), "&mode=merge")
    stored = await _properties(service)
    await _import(service, _document(metadata={"d": 1}), "&mode=replace")
    replaced = await _properties(service)
    await _import(service, _document(), "&mode=replace")

    assert merged["metadata"] == {"a": 1, "b": 2, "c": 2}
    assert stored == merged
    assert replaced["metadata"] == {"d": 1}
    assert (await _properties(service))["metadata"] == {}


async def test_repeated_import_changes_nothing(service: Service) -> None:
    sent = _document(metadata={"a": 1})
    await _import(service, sent)

    status, again = await _import(service, sent, "&mode=replace")

    assert (status, again["revision"], again["properties"]) == (200, 1, None)


async def test_import_of_invalid_metadata_is_refused_or_skipped(service: Service) -> None:
    sent = _document(metadata={"good": 1, "bad": {"x": "canary"}, "none": None, "": 1})

    status, refused = await _import(service, sent)
    dry = await _import(service, sent, "&lenient=true&dry_run=true")
    shape = await _import(service, _document(metadata=[]))
    large = await _import(service, _document(metadata={"a": "x" * METADATA_BYTES_MAX}))
    untouched = await _properties(service)
    lenient = await _import(service, sent, "&lenient=true")

    assert (status, refused["code"]) == (422, "metadata_invalid")
    assert [item["field"] for item in refused["errors"]] == [
        "metadata.bad",
        "metadata.none",
        "metadata",
    ]
    assert "canary" not in json.dumps([refused, lenient[1]["warnings"]])
    assert dry[1]["properties"]["after"]["metadata"] == {"good": 1}
    assert (shape[0], large[0], untouched) == (400, 413, FIRST)
    assert (lenient[0], len(lenient[1]["warnings"])) == (200, 3)
    assert (await _properties(service))["metadata"] == {"good": 1}


async def test_export_has_metadata_and_no_other_property(service: Service) -> None:
    await _patch(service, metadata={"a": 1}, fractional="v2", protected=True)
    await _put(service, "a", 1)
    exported = await _get(service, f"{LOCAL}/export")

    status, _ = await _send(service, "POST", f"{STAGING}/import?mode=replace", exported)
    del exported["metadata"]
    await _send(service, "POST", f"{STAGING}/import?mode=replace", exported)

    assert status == 200
    assert await _properties(service, STAGING) == FIRST | {"metadata": {"a": 1}, "version": 2}


async def test_past_export_has_past_metadata(service: Service) -> None:
    await _some_history(service)

    then = await _get(service, f"{LOCAL}/export?format=flagd&revision=3")

    assert then["metadata"] == {"n": 2}


# Creation


async def test_created_environment_is_served(service: Service) -> None:
    body = {"name": "team-a", "tier": "development", "metadata": {"owner": "a"}}
    answer = await service.client.post(ENVIRONMENTS, json=body)

    result = await answer.json()
    place = answer.headers["Location"]
    served = await _get(service, place)
    history = await _get(service, f"{place}/changes")
    written = await _send(
        service, "PUT", f"{place}/configurations/a", {"value": 1}, **{"If-None-Match": "*"}
    )
    assert (answer.status, place) == (201, "/v1/environments/team-a")
    assert (result["tier"], result["revision"], result["metadata"]) == (
        "development",
        1,
        {"owner": "a"},
    )
    assert served == result
    assert [item["message"] for item in history["items"]] == ["Create the environment"]
    assert history["items"][0]["actor"].startswith("token:")
    assert written[1]["revision"] == 2
    assert "team-a" in [item["name"] for item in (await _get(service, ENVIRONMENTS))["items"]]


async def test_created_environment_has_the_defaults(service: Service) -> None:
    status, result = await _send(service, "POST", ENVIRONMENTS, {"name": "b", "tier": "production"})

    assert (status, result["fractional"], result["protected"], result["metadata"]) == (
        201,
        "v3",
        False,
        {},
    )


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        ({"name": "local"}, 409, "name"),
        *(({"name": name}, 422, "name") for name in ("", "A", "1a", "-a", "a_b", "a\n", "é")),
        ({"name": "a" * 64}, 422, "name"),
        ({"name": "good", "tier": "test"}, 422, "tier"),
        ({"name": "good", "fractional": "v1"}, 422, "fractional"),
        ({"name": "good", "metadata": {"a": []}}, 422, "metadata.a"),
        ({"name": "good", "metadata": {"a": "x" * METADATA_BYTES_MAX}}, 413, "metadata"),
        ({"name": "good", "revision": 5}, 422, "body"),
    ],
)
async def test_invalid_environment_names_the_field(
    service: Service, body: dict[str, Any], status: int, field: str
) -> None:
    answer, problem = await _send(service, "POST", ENVIRONMENTS, {"tier": "local"} | body)

    assert (answer, problem["errors"][0]["field"]) == (status, field)
    assert len((await _get(service, ENVIRONMENTS))["items"]) == 4


async def test_creation_needs_an_admin_of_every_environment(service: Service) -> None:
    body = {"name": "team-b", "tier": "local"}
    writer = await service.token(Scope.READ, Scope.WRITE)
    foreign = await service.token(Scope.ADMIN, environments=("local",))
    every = await service.token(Scope.ADMIN)

    answers = [
        (await _send(service, "POST", ENVIRONMENTS, body, **_bearer(token)))
        for token in (writer, foreign, every)
    ]

    assert [status for status, _ in answers] == [403, 403, 201]


async def test_dry_run_creates_no_environment(service: Service) -> None:
    body = {"name": "dry", "tier": "local", "metadata": {"a": 1}}

    status, result = await _send(service, "POST", f"{ENVIRONMENTS}?dry_run=true", body)

    assert (status, result["metadata"]) == (200, {"a": 1})
    assert (await _send(service, "GET", f"{ENVIRONMENTS}/dry"))[0] == 404


async def test_repeated_creation_makes_one_environment(service: Service) -> None:
    body = {"name": "once", "tier": "local"}

    answers = [
        await _send(service, "POST", ENVIRONMENTS, body, **{"Idempotency-Key": "k"})
        for _ in range(2)
    ]

    assert answers[0] == answers[1]
    assert answers[0][0] == 201


async def test_one_of_many_concurrent_creations_wins(service: Service) -> None:
    body = {"name": "raced", "tier": "local"}

    answers = await asyncio.gather(*(_send(service, "POST", ENVIRONMENTS, body) for _ in range(4)))

    assert sorted(status for status, _ in answers) == [201, 409, 409, 409]
    assert {content.get("code") for status, content in answers if status == 409} == {
        "environment_taken"
    }


async def test_creation_beyond_the_limit_is_refused(service: Service) -> None:
    async with service.app[DATABASE].connection() as connection:
        await connection.execute(
            "insert into environments (name, tier) "
            "select 'filler-' || n, 'local' from generate_series(1, $1) as n",
            ENVIRONMENTS_MAX - 5,
        )
    await service.app[FOLLOWER].refresh()

    # Without the lock, each request would find one free slot.
    answers = await asyncio.gather(
        *(
            _send(service, "POST", ENVIRONMENTS, {"name": f"last-{n}", "tier": "local"})
            for n in range(4)
        )
    )

    assert sorted(status for status, _ in answers) == [201, 409, 409, 409]
    codes = {content["code"] for status, content in answers if status == 409}
    assert codes == {"environments_full"}
