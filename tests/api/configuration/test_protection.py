"""Protected environments: writes without approval are refused with the proposal to make."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import ClientSession

from app.access.models import Scope
from app.access.permissions import ALL_KEYS, OPERATOR_RIGHTS
from app.audit.chain import consistent_read
from app.audit.verification import Verified, verify
from app.configuration.changes import writes
from app.configuration.changes.authority import Authority
from app.configuration.changes.models import Content, Kind, Operation
from app.configuration.changes.properties import Intent
from app.errors import ApprovalRequired
from app.http.keys import DATABASE
from tests.conftest import Service
from tests.factories import flag

LOCAL = "/v1/environments/local"
_ANY = {"If-Match": "*"}
STAGING = "/v1/environments/staging"


async def _send(
    client: ClientSession, method: str, path: str, body: object = None, **headers: str
) -> tuple[int, Any]:
    async with client.request(method, path, json=body, headers=headers) as answer:
        return answer.status, await answer.json(content_type=None)


async def _put(service: Service, key: str, value: object, **members: Any) -> None:
    status, content = await _send(
        service.client,
        "PUT",
        f"{LOCAL}/configurations/{key}",
        {"value": value, **members},
        **{"If-None-Match": "*"},
    )
    assert status == 201, content


async def _protect(service: Service, environment: str = LOCAL, **members: Any) -> None:
    status, content = await _send(
        service.client, "PATCH", environment, {"protection": members}, **{"If-Match": "*"}
    )
    assert status == 200, content


@pytest.fixture
async def publisher(service: Service) -> AsyncIterator[ClientSession]:
    token = await service.token(Scope.READ, Scope.WRITE, Scope.PUBLISH, Scope.ADMIN)
    headers = {"Authorization": f"Bearer {token}"}
    async with ClientSession(base_url=service.url, headers=headers) as client:
        yield client


async def test_protection_is_a_property_with_history(service: Service) -> None:
    await _protect(service, approvals=2, keys=["checkout/"])
    await _send(service.client, "PATCH", LOCAL, {"protection": {"approvals": 1}}, **_ANY)

    _, state = await _send(service.client, "GET", LOCAL)
    _, change_set = await _send(service.client, "GET", f"{LOCAL}/changes/1")
    _, past = await _send(service.client, "GET", f"{LOCAL}?revision=0")

    # The second patch is covered by the first protection.
    protection = {"approvals": 2, "self_approval": False, "keys": ["checkout/"]}
    assert (state["protection"], state["revision"]) == (protection, 1)
    assert change_set["properties"]["after"]["protection"] == protection
    assert past["protection"] is None


async def test_write_without_approval_is_refused_with_proposal(service: Service) -> None:
    await _put(service, "a", 1)
    await _protect(service, approvals=2)

    status, problem = await _send(
        service.client,
        "PUT",
        f"{LOCAL}/configurations/a",
        {"value": 2, "description": "d", "message": "why"},
        **{"If-Match": '"1"'},
    )

    operation = {
        "op": "put",
        "key": "a",
        "version": 1,
        "value": 2,
        "kind": "setting",
        "schema": None,
        "description": "d",
        "environment": "local",
    }
    assert (status, problem["code"]) == (409, "approval_required")
    assert problem["detail"] == (
        "local is protected: the change needs 2 approvals. Create a proposal for it."
    )
    assert problem["errors"] == [{"field": "a", "rule": "is protected in local"}]
    assert problem["proposal"] == {"operations": [operation], "message": "why"}
    assert (await _send(service.client, "GET", LOCAL))[1]["revision"] == 2


async def test_value_of_secret_is_left_out_of_proposal(service: Service) -> None:
    await _protect(service)

    status, problem = await _send(
        service.client,
        "PUT",
        f"{LOCAL}/configurations/password",
        {"value": "hunter2", "kind": "secret"},
        **{"If-None-Match": "*"},
    )

    (operation,) = problem["proposal"]["operations"]
    assert (status, operation["kind"], operation["key"]) == (409, "secret", "password")
    assert "value" not in operation
    assert "hunter2" not in str(problem)


async def test_only_covered_keys_need_approval(service: Service) -> None:
    await _protect(service, keys=["checkout/"])

    await _put(service, "other", 1)
    status, problem = await _send(
        service.client,
        "POST",
        f"{LOCAL}/changes",
        {
            "operations": [
                {"op": "put", "key": "other", "version": 1, "value": 2},
                {"op": "put", "key": "checkout/a", "version": 0, "value": 2},
            ]
        },
    )

    assert (status, [error["field"] for error in problem["errors"]]) == (409, ["checkout/a"])
    assert [item["key"] for item in problem["proposal"]["operations"]] == ["other", "checkout/a"]


async def test_write_that_changes_nothing_needs_no_approval(service: Service) -> None:
    await _put(service, "a", {"b": 1})
    await _protect(service)

    status, _ = await _send(
        service.client, "PUT", f"{LOCAL}/configurations/a", {"value": {"b": 1}}, **_ANY
    )
    changed, _ = await _send(
        service.client, "PUT", f"{LOCAL}/configurations/a", {"value": {"b": True}}, **_ANY
    )

    assert (status, changed) == (200, 409)


async def test_change_over_environments_is_proposed_as_whole(service: Service) -> None:
    await _protect(service, STAGING)

    status, problem = await _send(
        service.client,
        "POST",
        f"{LOCAL}/changes",
        {
            "operations": [
                {"op": "put", "key": "a", "version": 0, "value": 1},
                {"op": "patch", "version": 1, "metadata": {"owner": "shop"}},
                {"op": "put", "key": "a", "version": 0, "value": 1, "environment": "staging"},
            ],
            "message": "both",
        },
    )

    operations = problem["proposal"]["operations"]
    assert (status, problem["proposal"]["message"]) == (409, "both")
    assert [(item["op"], item["environment"]) for item in operations] == [
        ("put", "staging"),
        ("put", "local"),
        ("patch", "local"),
    ]
    assert operations[2] == {
        "op": "patch",
        "version": 1,
        "metadata": {"owner": "shop"},
        "environment": "local",
    }
    assert (await _send(service.client, "GET", LOCAL))[1]["revision"] == 0


async def test_segment_of_covered_flag_needs_approval(service: Service) -> None:
    await _put(service, "free", {"==": [1, 1]}, kind="segment")
    await _put(service, "inner", {"==": [1, 1]}, kind="segment")
    await _put(service, "outer", {"if": [{"$ref": "inner"}, True]}, kind="segment")
    definition = flag(defaultVariant="off", targeting={"if": [{"$ref": "outer"}, "on"]})
    await _put(service, "checkout/a", definition, kind="flag")
    await _protect(service, keys=["checkout/"])

    statuses = {
        key: (
            await _send(
                service.client,
                "PUT",
                f"{LOCAL}/configurations/{key}",
                {"value": {"==": [1, 2]}, "kind": "segment"},
                **_ANY,
            )
        )[0]
        for key in ("free", "inner", "outer")
    }

    assert statuses == {"free": 200, "inner": 409, "outer": 409}


async def test_needed_flag_of_covered_flag_needs_approval(service: Service) -> None:
    inner = {"if": [{"$ref": "staff"}, "on"]}
    middle = {"if": [{"flag": ["inner", "on"]}, "on"]}
    needing = [{"flag": "middle", "variant": "on"}]
    guards: list[object] = [{"context": {"flag": "free"}, "variant": "off"}]
    await _put(service, "staff", {"==": [1, 1]}, kind="segment")
    await _put(service, "free", flag(defaultVariant="off"), kind="flag")
    await _put(service, "inner", flag(defaultVariant="off", targeting=inner), kind="flag")
    await _put(service, "middle", flag(defaultVariant="off", targeting=middle), kind="flag")
    definition = flag(defaultVariant="off", prerequisites=needing, guards=guards)
    await _put(service, "checkout/a", definition, kind="flag")
    await _put(service, "above", flag(targeting={"flag": ["checkout/a"]}), kind="flag")
    await _protect(service, keys=["checkout/"])

    answers = {
        key: await _send(
            service.client,
            "PUT",
            f"{LOCAL}/configurations/{key}",
            {"value": value, "kind": kind},
            **_ANY,
        )
        for key, kind, value in (
            ("free", "flag", flag(defaultVariant="on")),
            ("above", "flag", flag(defaultVariant="on")),
            ("inner", "flag", flag(defaultVariant="on")),
            ("middle", "flag", flag(defaultVariant="on")),
            ("staff", "segment", {"==": [1, 2]}),
        )
    }

    statuses = {key: status for key, (status, _) in answers.items()}
    assert statuses == {"free": 200, "above": 200, "inner": 409, "middle": 409, "staff": 409}
    assert answers["inner"][1]["errors"] == [{"field": "inner", "rule": "is protected in local"}]


async def test_dry_run_tells_that_approval_is_required(service: Service) -> None:
    await _put(service, "a", 1)
    await _protect(service)
    path = f"{LOCAL}/configurations/a?dry_run=true"

    status, result = await _send(service.client, "PUT", path, {"value": 2}, **_ANY)
    _, same = await _send(service.client, "PUT", path, {"value": 1}, **_ANY)
    _, restored = await _send(
        service.client, "POST", f"{LOCAL}/restore?dry_run=true", {"revision": 0}
    )
    _, imported = await _send(
        service.client, "POST", f"{LOCAL}/import?dry_run=true", {"entries": {"b": {"value": 1}}}
    )

    assert (status, result["approval_required"], same["approval_required"]) == (200, True, False)
    assert restored["change_sets"][0]["approval_required"] is True
    assert imported["approval_required"] is True
    assert (await _send(service.client, "GET", LOCAL))[1]["revision"] == 2


async def test_emergency_is_written_and_marked(service: Service, publisher: ClientSession) -> None:
    await _put(service, "a", 1)
    await _protect(service)
    body = {"value": 2, "message": "outage"}

    status, result = await _send(
        publisher, "PUT", f"{LOCAL}/configurations/a?emergency=true", body, **_ANY
    )

    assert (status, result["approval"]) == (200, {"emergency": True})
    _, change_set = await _send(service.client, "GET", f"{LOCAL}/changes/3")
    _, history = await _send(service.client, "GET", f"{LOCAL}/configurations/a/history")
    _, log = await _send(service.client, "GET", "/v1/access-log?event=authz_emergency")
    assert (change_set["approval"], change_set["message"]) == ({"emergency": True}, "outage")
    assert history["items"][0]["approval"] == {"emergency": True}
    assert [(row["environment"], row["detail"]) for row in log["items"]] == [
        ("local", "revision 3")
    ]
    assert isinstance(await _verified(service), Verified)


async def test_emergency_without_reason_or_scope_is_refused(
    service: Service, publisher: ClientSession
) -> None:
    await _put(service, "a", 1)
    await _protect(service)
    path = f"{LOCAL}/configurations/a"

    unasked, _ = await _send(publisher, "PUT", path, {"value": 2}, **_ANY)
    silent, problem = await _send(publisher, "DELETE", f"{path}?emergency=true", **_ANY)
    foreign, _ = await _send(
        service.client, "PUT", f"{path}?emergency=true", {"value": 2, "message": "now"}, **_ANY
    )
    deleted, _ = await _send(publisher, "DELETE", f"{path}?emergency=true&message=now", **_ANY)

    assert (unasked, silent, foreign, deleted) == (409, 422, 403, 200)
    assert problem["errors"][0]["field"] == "message"


async def test_emergency_where_nothing_is_protected_is_ordinary(
    service: Service, publisher: ClientSession
) -> None:
    status, result = await _send(
        publisher,
        "PUT",
        f"{LOCAL}/configurations/a?emergency=true",
        {"value": 2, "message": "m"},
        **{"If-None-Match": "*"},
    )

    _, log = await _send(service.client, "GET", "/v1/access-log?event=authz_emergency")
    assert (status, result.get("approval"), log["items"]) == (201, None, [])


async def test_restore_and_revert_leave_protection(
    service: Service, publisher: ClientSession
) -> None:
    await _put(service, "a", 1)
    await _protect(service)

    emergency = "?emergency=true"
    body = {"message": "back", "revision": 0}
    restored, _ = await _send(publisher, "POST", f"{LOCAL}/restore{emergency}", body)
    body = {"message": "back"}
    reverted, result = await _send(publisher, "POST", f"{LOCAL}/changes/2/revert{emergency}", body)

    _, state = await _send(service.client, "GET", LOCAL)
    assert (restored, reverted, result["change_sets"]) == (200, 200, [])
    assert state["protection"] == {"approvals": 1, "self_approval": False, "keys": []}


async def test_proposal_is_applied_with_enough_approvals(service: Service) -> None:
    await _protect(service, approvals=2)
    content = Content(kind=Kind.SETTING, value=1)
    intents = {"local": Intent(operations=[Operation(key="a", content=content, expected=None)])}

    async def apply(*approvers: str) -> None:
        authority = Authority(
            rights=OPERATOR_RIGHTS,
            proposal="p1",
            approvers=dict.fromkeys(approvers, ALL_KEYS),
            authors=frozenset({"token:author"}),
        )
        await service.app[DATABASE].transact(
            lambda c: writes.apply(c, intents, actor="x", message="", authority=authority)
        )

    with pytest.raises(ApprovalRequired, match="needs 2 approvals"):
        await apply("token:author", "token:b")
    await apply("token:b", "token:c")

    _, change_set = await _send(service.client, "GET", f"{LOCAL}/changes/2")
    assert change_set["approval"] == {
        "proposal": "p1",
        "approvers": ["token:b", "token:c"],
        "approver_names": ["token b", "token c"],
    }
    assert isinstance(await _verified(service), Verified)


async def test_protected_environment_is_not_deleted(service: Service) -> None:
    body = {"name": "team-a", "tier": "development", "protection": {}}
    created, _ = await _send(service.client, "POST", "/v1/environments", body)

    status, problem = await _send(service.client, "DELETE", "/v1/environments/team-a", **_ANY)

    assert (created, status, problem["code"]) == (201, 409, "environment_protected")
    assert problem["errors"] == [{"field": "protection", "rule": "must be null"}]


async def _verified(service: Service) -> object:
    async with consistent_read(service.app[DATABASE]) as connection:
        return await verify(connection, "local")
