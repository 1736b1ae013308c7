"""Secrets in proposals: sealed in the database, masked in answers, and gone after the end."""

import json
from typing import Any

import pytest

from tests.api.configuration.proposal_calls import Person, person, put, rows
from tests.conftest import Admin, Service

CLEAR = "hunter2-hunter2"


@pytest.fixture
async def author(service: Service) -> Person:
    return await person(service)


async def _stored_text(service: Service) -> str:
    """Return all that the database has of proposals, as text."""
    tables = ("proposals", "proposal_events", "proposal_secrets", "idempotency_keys", "access_log")
    found = [
        await rows(service, f"select to_jsonb(t)::text as row from {table} t")  # noqa: S608
        for table in tables
    ]
    return json.dumps([row["row"] for table in found for row in table])


async def _revealed(service: Service, key: str) -> Any:
    path = f"/v1/environments/staging/configurations/{key}?reveal=true"
    return (await (await service.client.get(path)).json())["value"]


async def test_secret_of_a_proposal_is_never_stored_in_clear(
    service: Service, author: Person
) -> None:
    proposal = await author.propose(put("password", CLEAR, kind="secret"))

    assert proposal["operations"][0]["value"] is None
    text = await _stored_text(service)
    assert CLEAR not in text
    assert CLEAR.encode().hex() not in text
    assert len(await rows(service, "select 1 from proposal_secrets")) == 1


async def test_secret_is_applied_and_then_forgotten(service: Service, author: Person) -> None:
    proposal = await author.propose(put("password", CLEAR, kind="secret"))

    applied = await author.act(proposal, "apply")

    assert applied.status == 200
    assert await _revealed(service, "password") == CLEAR
    assert await rows(service, "select 1 from proposal_secrets") == []


async def test_masked_secret_stays_as_it_is_in_an_edit(service: Service, author: Person) -> None:
    proposal = await author.propose(put("password", CLEAR, kind="secret"))
    editor = await person(service)

    edited = await editor.edit(
        proposal, operations=[*proposal["operations"], put("a", 1)], environment="staging"
    )
    applied = await author.act(edited.body, "apply")

    assert applied.status == 200, applied.body
    assert await _revealed(service, "password") == CLEAR
    assert await author.value("a") == 1


async def test_new_secret_without_a_value_is_refused(author: Person) -> None:
    proposal = await author.propose(put("password", CLEAR, kind="secret"))
    operations = [*proposal["operations"], put("other", None, kind="secret")]

    refused = await author.edit(proposal, operations=operations, environment="staging")

    assert refused.status == 422


async def test_shredded_secret_stops_the_proposal(author: Person, cleaner: Admin) -> None:
    proposal = await author.propose(put("password", CLEAR, kind="secret"))
    cleaner.execute(
        "update flagstone.data_keys set wrapped = null, retired_at = now(), destroyed_at = now() "
        "where environment = 'staging'"
    )

    refused = await author.act(proposal, "apply")

    assert (refused.status, refused.body["code"]) == (404, "secret_shredded")
    assert refused.body["detail"] == (
        f"The secret password of proposal {proposal['id']} is gone: "
        "the key that sealed it was destroyed."
    )


async def test_withdrawal_forgets_the_secret(service: Service, author: Person) -> None:
    proposal = await author.propose(put("password", CLEAR, kind="secret"))

    await author.act(proposal, "withdraw")

    assert await rows(service, "select 1 from proposal_secrets") == []
