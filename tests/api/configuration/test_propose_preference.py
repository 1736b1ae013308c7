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
