"""`Prefer: proposal`: a write that needs approvals becomes a proposal."""

from typing import Any

import pytest

from tests.api.configuration.proposal_calls import (
    PROPOSALS,
    Answer,
    Person,
    person,
    protect,
    put,
    write,
)
from tests.conftest import Service
from tests.factories import flag

STAGING = "/v1/environments/staging"
WRITES: dict[str, tuple[str, str, Any, dict[str, str]]] = {
    "put": ("PUT", "/configurations/a", {"value": 2}, {"If-Match": '"1"'}),
    "delete": ("DELETE", "/configurations/a", None, {"If-Match": '"1"'}),
    "changes": ("POST", "/changes", {"operations": [put("a", 2, 1)]}, {}),
    "revert": ("POST", "/changes/1/revert", {}, {}),
    "restore": ("POST", "/restore", {"revision": 0}, {}),
    "promote": ("POST", "/promote", {"from": "local", "keys": ["a"]}, {}),
    "properties": ("PATCH", "", {"metadata": {"team": "web"}}, {"If-Match": '"2"'}),
    "import": ("POST", "/import", {"configurations": [{"key": "b", "value": 1}]}, {}),
}


async def _send(someone: Person, name: str, **headers: str) -> Answer:
    method, path, body, conditions = WRITES[name]
    return await someone.call(method, STAGING + path, body, **conditions, **headers)


@pytest.fixture
async def author(service: Service) -> Person:
    await write(service, put("a", 1))
    await write(service, put("a", 5), environment="local")
    await protect(service, approvals=1)
    return await person(service)


@pytest.mark.parametrize("name", WRITES)
async def test_write_becomes_a_proposal(service: Service, author: Person, name: str) -> None:
    refused = await _send(author, name)
    accepted = await _send(author, name, Prefer="respond-async, proposal")

    assert (refused.status, refused.body["code"]) == (409, "approval_required")
    assert accepted.status == 202, accepted.body
    assert accepted.headers["Location"] == f"{PROPOSALS}/{accepted.body['id']}"
    assert accepted.body["state"] == "open"
    assert await author.value("a") == 1
    approved = await (await person(service)).act(accepted.body, "approve")
    assert approved.body["state"] == "approved", approved.body
    applied = await author.act(accepted.body, "apply")
    assert applied.status == 200, applied.body


async def test_control_of_a_plan_becomes_a_proposal(service: Service) -> None:
    plan = {"name": "launch", "steps": [{"at": "2099-01-01T00:00:00Z", "defaultVariant": "off"}]}
    author = await person(service)
    await write(service, put("planned", flag(plan=plan), kind="flag"))
    await protect(service, approvals=1)

    accepted = await author.call(
        *("POST", f"{STAGING}/flags/planned/plan/pause", {}),
        **{"If-Match": '"1"', "Prefer": "proposal"},
    )

    assert accepted.status == 202, accepted.body
    assert [item["key"] for item in accepted.body["operations"]] == ["planned"]


@pytest.mark.parametrize(
    ("message", "title"),
    [("\n", "Change a"), (" \n Lower the limit\nnow", "Lower the limit")],
    ids=["blank", "second line"],
)
async def test_title_is_the_first_line_with_text(author: Person, message: str, title: str) -> None:
    body = {"value": 2, "message": message}

    accepted = await author.call(
        *("PUT", f"{STAGING}/configurations/a", body), **{"If-Match": '"1"', "Prefer": "proposal"}
    )

    assert (accepted.status, accepted.body["title"]) == (202, title)


async def test_write_without_protection_is_done_at_once(author: Person) -> None:
    written = await author.call(
        "POST",
        "/v1/environments/local/changes?propose=true",
        {"operations": [put("b", 2)]},
    )

    assert written.status == 200
    assert (await author.get(PROPOSALS))["items"] == []


async def test_repeated_preference_makes_one_proposal(author: Person) -> None:
    answers = [
        await author.call(
            "PUT",
            f"{STAGING}/configurations/a?propose=true",
            {"value": 3},
            If_Match='"1"',
            Idempotency_Key="one",
        )
        for _ in range(2)
    ]

    assert [answer.status for answer in answers] == [202, 202]
    assert answers[0].body == answers[1].body
    assert len((await author.get(PROPOSALS))["items"]) == 1


async def test_proposal_has_the_title_of_its_message(author: Person) -> None:
    body = {"operations": [put("a", 2, 1), put("b", 1)]}
    path = f"{STAGING}/changes?propose=true"

    with_message = await author.call("POST", path, body | {"message": "Launch\nfor all"})
    without = await author.call("POST", path, body)

    assert with_message.body["title"] == "Launch"
    assert without.body["title"] == "Change 2 entries"
