"""The names of actors beside their IDs, in each answer that has an actor."""

from typing import Any

import pytest

from app.access.actors import actor_names, distinct_names
from app.access.guard import ACCESS_LOG
from app.access.models import Scope
from app.access.permissions import ALL_KEYS
from app.configuration.changes.history import list_actors
from app.http.keys import DATABASE
from tests.api.configuration.proposal_calls import Person, protect
from tests.conftest import Service
from tests.people import sign_in_person

KEY = "/v1/environments/staging/configurations/greeting"


async def named(service: Service, name: str, *scopes: str) -> Person:
    """Return a person with a token of this name."""
    body = {"name": name, "scopes": scopes or ("read", "write", "approve"), "environments": ["*"]}
    async with service.client.post("/v1/tokens", json=body) as answer:
        assert answer.status == 201, await answer.text()
        return Person(service, (await answer.json())["text"])


async def read(service: Service, path: str) -> Any:
    async with service.client.get(path) as answer:
        assert answer.status == 200, await answer.text()
        return await answer.json()


@pytest.fixture
async def amina(service: Service) -> Person:
    return await named(service, "Amina")


async def test_name_stays_after_the_token_is_revoked(service: Service, amina: Person) -> None:
    written = await amina.call("PUT", KEY, {"value": 1}, If_None_Match="*")
    assert written.status == 201, written.body
    await service.revoke(amina.token)

    changes = await read(service, "/v1/environments/staging/changes")
    change_set = await read(service, "/v1/environments/staging/changes/1")
    history = await read(service, KEY + "/history")

    for item in (changes["items"][0], change_set, history["items"][0]):
        assert (item["actor"], item["actor_name"]) == (amina.actor, "Amina")


async def test_proposal_names_its_people(service: Service, amina: Person) -> None:
    jonas = await named(service, "Jonas")
    await protect(service, approvals=1)
    put = {"op": "put", "environment": "staging", "key": "greeting", "version": 0, "value": 1}

    proposal = await amina.propose(put)
    approved = (await jonas.act(proposal, "approve")).body
    (listed,) = (await read(service, "/v1/proposals"))["items"]
    applied = (await jonas.act(proposal, "apply")).body
    revision = applied["applied"]["staging"]
    change_set = await read(service, f"/v1/environments/staging/changes/{revision}")

    assert (approved["author_name"], listed["author_name"]) == ("Amina", "Amina")
    assert approved["approvals"][0]["approver_names"] == ["Jonas"]
    assert {event["actor_name"] for event in applied["events"]} == {"Amina", "Jonas"}
    assert change_set["approval"]["approvers"] == [jonas.actor]
    assert change_set["approval"]["approver_names"] == ["Jonas"]


async def test_scheduler_of_a_proposal_has_a_name(amina: Person) -> None:
    put = {"op": "put", "environment": "staging", "key": "greeting", "version": 0, "value": 1}
    proposal = await amina.propose(put)

    scheduled = await amina.act(proposal, "schedule", apply_at="2999-01-01T00:00:00Z")

    assert scheduled.status == 200, scheduled.body
    assert scheduled.body["scheduled_by_name"] == "Amina"


async def test_access_log_and_tokens_have_names(service: Service, amina: Person) -> None:
    admin = await named(service, "Team lead", "read", "admin")
    body = {"name": "ci", "scopes": ["read"], "environments": ["*"]}
    created = await admin.call("POST", "/v1/tokens", body)
    await service.app[ACCESS_LOG].run_once()

    accesses = await read(service, "/v1/access-log?event=authn_token_created")
    listed = await read(service, "/v1/tokens")

    assert created.body["token"]["created_by_name"] == "Team lead"
    assert accesses["items"][0]["actor_name"] == "Team lead"
    assert {item["created_by_name"] for item in listed["items"]} >= {"Team lead"}
    assert amina.actor not in {item["actor_name"] for item in accesses["items"]}


async def test_names_of_tokens_are_read_by_one_statement(service: Service, amina: Person) -> None:
    async with service.app[DATABASE].connection() as connection:
        names = await actor_names(
            connection,
            [amina.actor, "token:unknown", "operator:wanjiru", "system:plans", "anonymous", None],
        )

    assert names == {
        amina.actor: "Amina",
        "token:unknown": "token unknown",
        "operator:wanjiru": "wanjiru",
        "system:plans": "Flagstone",
        "anonymous": "anonymous",
    }


async def test_person_has_the_present_name(service: Service) -> None:
    first = await sign_in_person(service, "asha", name="Asha Mwangi")
    actor, ids = first.person.actor, [first.person.actor]
    async with service.app[DATABASE].connection() as connection:
        assert await actor_names(connection, ids) == {actor: "Asha Mwangi"}

    await sign_in_person(service, "asha", name="Asha Otieno")

    async with service.app[DATABASE].connection() as connection:
        assert await actor_names(connection, ids) == {actor: "Asha Otieno"}


async def test_authors_of_a_deleted_key_have_names(service: Service, amina: Person) -> None:
    written = await amina.call("PUT", KEY, {"value": 1}, If_None_Match="*")
    await amina.call("DELETE", KEY, None, If_Match=written.headers["ETag"])

    async with service.app[DATABASE].connection() as connection:
        assert await list_actors(connection, "staging", keys=ALL_KEYS) == {amina.actor: "Amina"}


def test_shared_name_is_followed_by_the_id() -> None:
    names = distinct_names([("token:a", "ci"), ("token:b", "ci"), ("token:a", "ci")])
    assert names == {"token:a": "ci (token:a)", "token:b": "ci (token:b)"}


def test_answer_of_an_earlier_release_shows_the_id() -> None:
    assert distinct_names([("token:a", ""), ("token:b", "")]) == {
        "token:a": "token:a",
        "token:b": "token:b",
    }


async def test_history_of_a_reader_names_others(service: Service, amina: Person) -> None:
    await amina.call("PUT", KEY, {"value": 1}, If_None_Match="*")
    reader = Person(service, await service.token(Scope.READ))

    change_set = await reader.get("/v1/environments/staging/changes/1")

    assert change_set["actor_name"] == "Amina"
