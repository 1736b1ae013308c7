"""Proposals of keys below two prefixes: who sees, approves and applies which part."""

import asyncio
from typing import Any

import pytest

from app.access.models import Scope
from tests.api.configuration.proposal_calls import (
    PROPOSALS,
    Answer,
    Person,
    person,
    protect,
    put,
    rows,
)
from tests.conftest import Service
from tests.waiting import HANG_SECONDS

READ, PROPOSE, WRITE, APPROVE = Scope.READ, Scope.PROPOSE, Scope.WRITE, Scope.APPROVE
SECRETS = ("search/", "confidential")


@pytest.fixture
async def author(service: Service) -> Person:
    await protect(service, approvals=1)
    return await person(service, READ, WRITE)


@pytest.fixture
async def senior(service: Service) -> Person:
    """May approve payments/ alone."""
    return await person(service, READ, APPROVE, prefixes=("payments/",))


@pytest.fixture
async def searcher(service: Service) -> Person:
    return await person(service, READ, APPROVE, prefixes=("search/",))


async def both(author: Person, **members: object) -> Any:
    """Propose a key of payments/ and one of search/."""
    return await author.propose(put("payments/a", 1), put("search/confidential", 2), **members)


def assert_silent(answer: Answer | object) -> None:
    body = answer.body if isinstance(answer, Answer) else answer
    assert not any(text in str(body) for text in SECRETS), body


async def test_each_key_needs_who_may_approve_it(
    author: Person, senior: Person, searcher: Person
) -> None:
    proposal = await both(author)

    first = await senior.act(proposal, "approve")
    stored = await author.read(proposal)
    early = await author.act(proposal, "apply")
    second = await searcher.act(proposal, "approve")
    applied = await author.act(proposal, "apply")

    assert first.status == 200, first.body
    assert stored["state"] == "open"
    assert stored["approvals"][0]["lacking"] == [
        {
            "keys": ["search/confidential"],
            "missing": 1,
            "reviewers": ["token local admin", "token test"],
        }
    ]
    assert (early.status, early.body["code"]) == (409, "approvals_missing")
    assert early.body["detail"] == (
        "The proposal lacks approvals: staging needs 1 more approval for search/confidential."
    )
    assert second.body["state"] == "approved"
    assert applied.status == 200, applied.body


async def test_only_the_senior_may_approve_payments(author: Person, searcher: Person) -> None:
    proposal = await author.propose(put("payments/a", 1))

    refused = await searcher.act(proposal, "approve")

    # A proposal without an own key is as if it did not exist.
    assert refused.status == 404


async def test_limited_reader_sees_own_keys_of_a_proposal(author: Person, senior: Person) -> None:
    proposal = await both(author, title="Both")
    await author.propose(put("search/confidential2", 1), title="Other")

    shown = await senior.read(proposal)
    page = await senior.get(PROPOSALS)
    preview = await senior.get(f"{PROPOSALS}/{proposal['id']}/preview")

    assert [item["key"] for item in shown["operations"]] == ["payments/a"]
    assert (shown["is_partial"], shown["operations_count"]) == (True, 1)
    assert [item["title"] for item in page["items"]] == ["Both"]
    assert page["items"][0]["operations_count"] == 1
    assert [change["key"] for change in preview["environments"][0]["changes"]] == ["payments/a"]
    for answer in (shown, page, preview):
        assert_silent(answer)


async def test_limited_reader_gets_events_of_own_proposals(
    service: Service, author: Person, senior: Person
) -> None:
    await author.propose(put("search/confidential", 1), title="confidential")
    proposal = await both(author)
    headers = {"X-API-Key": senior.token, "Last-Event-ID": "proposals:0"}

    async with service.stranger.get(f"{PROPOSALS}/events", headers=headers) as stream:
        lines = b""
        async with asyncio.timeout(HANG_SECONDS):
            while lines.count(b"event: proposal\n") < 2:
                lines += await stream.content.readany()

    assert_silent(lines.decode())
    assert f'"proposal":{proposal["id"]}'.encode() in lines


async def test_properties_are_a_part_for_all_keys_alone(author: Person, senior: Person) -> None:
    version = (await author.get("/v1/environments/staging"))["version"]
    patch = {"op": "patch", "version": version, "metadata": {"team": 1}}
    alone = await author.propose(patch)
    mixed = await author.propose(patch, put("payments/a", 1))

    assert (await senior.call("GET", f"{PROPOSALS}/{alone['id']}")).status == 404
    shown = await senior.read(mixed)
    approved = await senior.act(mixed, "approve")

    assert [item["op"] for item in shown["operations"]] == ["put"]
    assert approved.body["state"] == "open"
    stored = await author.read(mixed)
    assert [(item["keys"], item["reviewers"]) for item in stored["approvals"][0]["lacking"]] == [
        ([""], ["token local admin"])
    ]


async def test_refusal_for_a_foreign_key_has_no_reason(
    service: Service, author: Person, senior: Person
) -> None:
    proposal = await both(author)
    publisher = await person(service, READ, WRITE, Scope.PUBLISH)
    body = {"operations": [put("search/confidential", 9)], "message": "Outage"}
    path = "/v1/environments/staging/changes?emergency=true"
    assert (await publisher.call("POST", path, body)).status == 200

    approve = await senior.act(proposal, "approve")
    preview = await senior.get(f"{PROPOSALS}/{proposal['id']}/preview")

    assert (approve.status, approve.body["code"]) == (409, "proposal_refused")
    assert preview["can_apply"] is False
    assert [item["code"] for item in preview["environments"][0]["refusals"]] == ["proposal_refused"]
    assert_silent(approve)
    assert_silent(preview)


async def test_limited_author_proposes_and_edits_own_keys_alone(
    service: Service, author: Person
) -> None:
    limited = await person(service, READ, PROPOSE, prefixes=("payments/",))
    mixed = await both(author)

    created = await limited.call(
        "POST", PROPOSALS, {"title": "x", "environment": "staging", "operations": [put("s/a", 1)]}
    )
    draft = await limited.call(
        "POST",
        PROPOSALS,
        {"title": "x", "environment": "staging", "draft": True, "operations": [put("s/a", 1)]},
    )
    edited = await limited.edit(mixed, title="Mine")
    own = await limited.propose(put("payments/a", 1))
    widened = await limited.edit(own, environment="staging", operations=[put("s/a", 1)])
    withdrawn = await limited.act(mixed, "withdraw")

    for answer in (created, draft, edited, widened):
        assert (answer.status, answer.body["code"]) == (403, "key_foreign"), answer.body
        assert_silent(answer)
    assert (withdrawn.status, withdrawn.body["code"]) == (403, "not_author")
    assert own["state"] == "open"


async def test_approval_counts_for_the_keys_of_its_time(
    service: Service, author: Person, senior: Person
) -> None:
    """A wider grant later does not widen an approval: its giver has not seen the other keys."""
    proposal = await both(author)
    await senior.act(proposal, "approve")
    event = await rows(
        service, "select approved_keys from proposal_events where event = 'approved'"
    )

    assert event[0]["approved_keys"] == {"staging": ["payments/"]}
    assert (await author.act(proposal, "apply")).status == 409


async def test_applying_needs_write_for_every_key(
    service: Service, author: Person, senior: Person, searcher: Person
) -> None:
    proposal = await both(author)
    await senior.act(proposal, "approve")
    await searcher.act(proposal, "approve")
    limited = await person(service, READ, WRITE, prefixes=("payments/",))

    refusals = [
        await limited.act(proposal, "apply"),
        await limited.act(proposal, "schedule", apply_at="2099-01-01T00:00:00Z"),
    ]

    for refused in refusals:
        assert (refused.status, refused.body["code"]) == (403, "key_foreign"), refused.body
        assert_silent(refused)


async def test_rejection_needs_approve_for_a_key(service: Service, author: Person) -> None:
    proposal = await both(author)
    writer = await person(service, READ, WRITE, prefixes=("payments/",))
    commenter = await person(service, READ, prefixes=("payments/",))

    rejected = await writer.act(proposal, "reject", reason="No")
    commented = await commenter.act(proposal, "comment", text="Hm")

    assert (rejected.status, rejected.body["code"]) == (403, "scope_missing")
    assert (commented.status, commented.body["code"]) == (403, "key_foreign")


async def test_proposal_without_read_is_refused_with_the_reason(service: Service) -> None:
    """It was 404 `proposal_unknown`, because the answer could not show the new proposal."""
    await protect(service, approvals=1)
    blind = await person(service, PROPOSE)
    body = {"title": "Test", "environment": "staging", "operations": [put("payments/a", 1)]}

    proposed = await blind.call("POST", PROPOSALS, body)
    written = await blind.call(
        "POST", "/v1/environments/staging/changes?propose=true", {"operations": body["operations"]}
    )

    assert (proposed.status, proposed.body["code"]) == (403, "scope_missing")
    assert "the scope read" in proposed.body["detail"]
    assert (written.status, written.body["code"]) == (403, "scope_missing")
