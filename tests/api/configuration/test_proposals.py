"""Proposals: their states, approvals and versions, and what applying them writes."""

import asyncio

import pytest

from tests.api.configuration.proposal_calls import (
    PROPOSALS,
    Person,
    delete,
    person,
    protect,
    put,
    rows,
    write,
)
from tests.conftest import Service


@pytest.fixture
async def author(service: Service) -> Person:
    return await person(service)


@pytest.fixture
async def reviewer(service: Service) -> Person:
    return await person(service)


async def test_approved_proposal_is_applied_as_one_change_set(
    service: Service, author: Person, reviewer: Person
) -> None:
    await write(service, put("a", 1), put("b", 1))
    await protect(service, approvals=1)

    proposal = await author.propose(put("a", 2, 1), delete("b", 1), put("c", 3), message="Why")
    assert proposal["state"] == "open"
    assert proposal["approvals"] == [
        {
            "environment": "staging",
            "required": 1,
            "missing": 1,
            "approvers": [],
            "approver_names": [],
            "lacking": [
                {
                    "keys": ["a", "b", "c"],
                    "missing": 1,
                    "reviewers": ["token local admin", "token test"],
                }
            ],
        }
    ]
    approved = await reviewer.act(proposal, "approve", text="Fine")
    assert approved.status == 200, approved.body
    assert approved.body["state"] == "approved"
    applied = await author.act(proposal, "apply")

    assert applied.status == 200, applied.body
    assert applied.body["state"] == "applied"
    assert [await author.value(key) for key in "abc"] == [2, None, 3]
    revision = applied.body["applied"]["staging"]
    change_set = await author.get(f"/v1/environments/staging/changes/{revision}")
    assert (change_set["kind"], change_set["actor"]) == ("proposal", author.actor)
    assert change_set["message"] == "Why"
    assert change_set["approval"] == {
        "proposal": str(proposal["id"]),
        "approvers": [reviewer.actor],
        "approver_names": ["test"],
    }
    assert [event["event"] for event in applied.body["events"]] == [
        *("created", "submitted", "approved", "applied")
    ]


async def test_proposal_for_unprotected_environment_needs_no_approval(author: Person) -> None:
    proposal = await author.propose(put("a", 1))

    applied = await author.act(proposal, "apply")

    assert proposal["state"] == "approved"
    assert applied.body["state"] == "applied"
    assert await author.value("a") == 1


async def test_draft_must_be_submitted_before_it_is_applied(author: Person) -> None:
    proposal = await author.propose(put("a", 1), draft=True)

    refused = await author.act(proposal, "apply")
    submitted = await author.act(proposal, "submit")
    again = await author.act(proposal, "submit")

    assert proposal["state"] == "draft"
    assert (refused.status, refused.body["code"]) == (409, "proposal_state")
    assert refused.body["detail"] == "The proposal is draft and cannot be applied. Submit it first."
    assert submitted.body["state"] == "approved"
    assert again.status == 409


async def test_author_and_editor_cannot_approve(
    service: Service, author: Person, reviewer: Person
) -> None:
    await protect(service, approvals=1)
    proposal = await author.propose(put("a", 1))
    edited = (await reviewer.edit(proposal, title="Better")).body

    refusals = [await someone.act(edited, "approve") for someone in (author, reviewer)]

    assert [(answer.status, answer.body["code"]) for answer in refusals] == [
        (403, "approval_own"),
        (403, "approval_own"),
    ]


async def test_author_approves_where_the_protection_allows_it(
    service: Service, author: Person
) -> None:
    await protect(service, approvals=1, self_approval=True)
    proposal = await author.propose(put("a", 1))

    approved = await author.act(proposal, "approve")

    assert approved.body["state"] == "approved"
    assert (await author.act(proposal, "apply")).status == 200


async def test_successor_of_a_token_is_the_same_person(service: Service) -> None:
    await protect(service, approvals=2)
    admin = Person(service, service.admin_token)
    author, reviewer = await person(service), await person(service)
    proposal = await author.propose(put("a", 1))
    await reviewer.act(proposal, "approve")

    successors = []
    for old in (author, reviewer):
        id_ = old.actor.removeprefix("token:")
        rotated = await admin.call("POST", f"/v1/tokens/{id_}/rotate", {"grace_seconds": 60})
        successors.append(Person(service, rotated.body["text"]))
    own, again = [await successor.act(proposal, "approve") for successor in successors]

    assert (own.status, own.body["code"]) == (403, "approval_own")
    assert (again.status, again.body["code"]) == (409, "approval_given")
    # The approval still counts, because the successor may write.
    assert (await admin.read(proposal))["approvals"][0]["approvers"] == [reviewer.actor]


async def test_two_approvals_at_one_moment_both_count(service: Service, author: Person) -> None:
    await protect(service, approvals=2)
    proposal = await author.propose(put("a", 1))
    reviewers = [await person(service), await person(service)]

    answers = await asyncio.gather(*(each.act(proposal, "approve") for each in reviewers))

    assert [answer.status for answer in answers] == [200, 200]
    stored = await author.read(proposal)
    assert stored["state"] == "approved"
    assert stored["approvals"][0]["approvers"] == sorted(each.actor for each in reviewers)


async def test_second_approval_of_one_person_is_refused(
    service: Service, author: Person, reviewer: Person
) -> None:
    await protect(service, approvals=2)
    proposal = await author.propose(put("a", 1))

    first, second = [await reviewer.act(proposal, "approve") for _ in range(2)]

    assert (first.status, first.body["state"]) == (200, "open")
    assert (second.status, second.body["code"]) == (409, "approval_given")


async def test_edit_ends_the_approvals(service: Service, author: Person, reviewer: Person) -> None:
    await protect(service, approvals=1)
    proposal = await author.propose(put("a", 1))
    await reviewer.act(proposal, "approve")

    edited = await author.edit(proposal, operations=[put("a", 2)], environment="staging")
    stale = await reviewer.act(proposal, "approve")
    refused = await author.act(edited.body, "apply")
    await reviewer.act(edited.body, "approve")
    applied = await author.act(edited.body, "apply")

    assert (edited.body["state"], edited.body["version"]) == ("open", 2)
    assert edited.body["approvals"][0]["approvers"] == []
    assert (stale.status, stale.body["version"]) == (412, 2)
    assert stale.headers["ETag"] == '"2"'
    assert (refused.status, refused.body["code"]) == (409, "approvals_missing")
    assert applied.status == 200
    assert await author.value("a") == 2


async def test_approval_during_an_edit_is_of_the_version_seen(
    service: Service, author: Person
) -> None:
    await protect(service, approvals=1)
    for _ in range(5):
        reviewer = await person(service)
        proposal = await author.propose(put("a", 1))
        edit, approval = await asyncio.gather(
            author.edit(proposal, operations=[put("a", 2)], environment="staging"),
            reviewer.act(proposal, "approve"),
        )

        assert edit.status == 200
        assert approval.status in {200, 412}
        stored = await author.read(proposal)
        assert (stored["state"], stored["version"]) == ("open", 2)
        assert stored["approvals"][0]["approvers"] == []


async def test_rejection_needs_a_reason_and_an_edit_reopens(
    author: Person, reviewer: Person
) -> None:
    proposal = await author.propose(put("a", 1))

    without = await reviewer.act(proposal, "reject", reason="")
    rejected = await reviewer.act(proposal, "reject", reason="Too early")
    refused = await author.act(proposal, "apply")
    edited = await author.edit(proposal, message="Now")
    submitted = await author.act(edited.body, "submit")

    assert without.status == 422
    assert (rejected.body["state"], rejected.body["reason"]) == ("rejected", "Too early")
    assert (refused.status, refused.body["code"]) == (409, "proposal_state")
    assert (edited.body["state"], edited.body["reason"]) == ("draft", None)
    assert submitted.body["state"] == "approved"


async def test_only_authors_and_administrators_withdraw(
    service: Service, author: Person, reviewer: Person
) -> None:
    first, second = await author.propose(put("a", 1)), await author.propose(put("b", 1))

    refused = await reviewer.act(first, "withdraw")
    withdrawn = await author.act(first, "withdraw")
    by_admin = await Person(service, service.admin_token).act(second, "withdraw")
    later = await author.edit(first, title="Late")

    assert (refused.status, refused.body["code"]) == (403, "not_author")
    assert withdrawn.body["state"] == by_admin.body["state"] == "withdrawn"
    assert later.body["detail"] == (
        "The proposal is withdrawn and cannot be edited. Create a new proposal."
    )


async def test_comments_are_part_of_the_conversation(author: Person, reviewer: Person) -> None:
    proposal = await author.propose(put("a", 1))

    await reviewer.act(proposal, "comment", text="Why now?")
    stored = await author.read(proposal)

    assert [(e["event"], e["actor"], e["text"]) for e in stored["events"][2:]] == [
        ("commented", reviewer.actor, "Why now?")
    ]


async def test_key_that_moved_makes_the_proposal_stale(
    service: Service, author: Person, reviewer: Person
) -> None:
    await write(service, put("a", 1), put("b", 1))
    await protect(service, "production", approvals=1)
    proposal = await author.propose(put("a", 2, 1))
    await write(service, put("b", 2, 1))
    assert (await reviewer.act(proposal, "approve")).status == 200
    await write(service, put("a", 5, 1))

    refusals = [
        await (await person(service)).act(proposal, "approve"),
        await author.act(proposal, "apply"),
    ]

    for refused in refusals:
        assert (refused.status, refused.body["code"]) == (409, "proposal_stale")
        assert refused.body["detail"] == (
            "The proposal is out of date in staging: a is at version 2. "
            "Read its preview, and edit it."
        )
    edited = await author.edit(proposal, operations=[put("a", 2, 2)], environment="staging")
    assert (await author.act(edited.body, "apply")).status == 200
    assert await author.value("a") == 2


async def test_proposal_that_a_write_would_refuse_is_refused(author: Person) -> None:
    broken = {"state": "ENABLED", "variants": {"on": True}, "defaultVariant": "none"}

    refused = await author.call(
        "POST",
        PROPOSALS,
        {"title": "x", "environment": "staging", "operations": [put("f", broken, kind="flag")]},
    )

    assert (refused.status, refused.body["code"]) == (422, "operations_invalid")


async def test_operation_without_environment_is_refused(author: Person) -> None:
    refused = await author.call("POST", PROPOSALS, {"title": "x", "operations": [put("a", 1)]})

    assert refused.status == 422
    assert refused.body["errors"] == [
        {"field": "operations[0].environment", "rule": "must be given, or environment"}
    ]


async def test_two_environments_are_applied_in_one_transaction(
    service: Service, author: Person
) -> None:
    proposal = await author.propose(
        put("a", 1), put("a", 1, environment="development"), environment="staging"
    )

    await write(service, put("a", 9), environment="development")
    refused = await author.act(proposal, "apply")
    before = await author.value("a")
    edited = await author.edit(
        proposal,
        operations=[put("a", 1), put("a", 1, 1, environment="development")],
        environment="staging",
    )
    applied = await author.act(edited.body, "apply")

    assert refused.status == 409
    assert before is None
    assert applied.body["applied"] == {"development": 2, "staging": 1}
    kinds = await rows(service, "select kind from change_sets order by environment, revision")
    assert [row["kind"] for row in kinds] == ["edit", "proposal", "proposal"]


async def test_approvals_count_per_environment(service: Service, author: Person) -> None:
    await protect(service, "staging", approvals=1)
    await protect(service, "production", approvals=1)
    proposal = await author.propose(put("a", 1), put("a", 1, environment="production"))
    one = await person(service, environments=("staging",))
    other = await person(service, environments=("production",))

    first = await one.act(proposal, "approve")
    stored = await author.read(proposal)
    second = await other.act(proposal, "approve")

    assert first.body["environments"] == ["staging"]
    assert first.body["hidden_environments"] == 1
    assert {operation["environment"] for operation in first.body["operations"]} == {"staging"}
    assert [(item["environment"], item["missing"]) for item in stored["approvals"]] == [
        ("production", 1),
        ("staging", 0),
    ]
    assert second.body["state"] == "approved"
    assert (await author.act(proposal, "apply")).status == 200


async def test_revoked_token_no_longer_approves(
    service: Service, author: Person, reviewer: Person
) -> None:
    await protect(service, approvals=1)
    proposal = await author.propose(put("a", 1))
    await reviewer.act(proposal, "approve")

    await service.revoke(reviewer.token)
    refused = await author.act(proposal, "apply")
    stored = await author.read(proposal)

    assert (refused.status, refused.body["code"]) == (409, "approvals_missing")
    assert stored["approvals"][0]["missing"] == 1
    assert await author.value("a") is None


async def test_token_sees_only_proposals_of_its_environments(
    service: Service, author: Person
) -> None:
    hidden = await author.propose(put("a", 1), environment="production")
    shown = await author.propose(put("a", 1))
    someone = await person(service, environments=("staging",))

    page = await someone.get(PROPOSALS)
    read = await someone.call("GET", f"{PROPOSALS}/{hidden['id']}")
    approve = await someone.act(hidden, "approve")
    foreign = await someone.call("GET", f"{PROPOSALS}?environment=production")
    create = await someone.call(
        "POST",
        PROPOSALS,
        {"title": "x", "environment": "production", "operations": [put("a", 1)]},
    )

    assert [item["id"] for item in page["items"]] == [shown["id"]]
    assert (read.status, approve.status, foreign.status, create.status) == (404, 404, 403, 403)


async def test_proposal_of_a_deleted_environment_cannot_be_applied(service: Service) -> None:
    admin = Person(service, service.admin_token)
    new = {"name": "canary", "tier": "staging"}
    await admin.call("POST", "/v1/environments", new)
    proposal = await admin.propose(put("a", 1), environment="canary")
    await admin.call("DELETE", "/v1/environments/canary", If_Match='"2"')
    await admin.call("POST", "/v1/environments", new)
    someone = await person(service, environments=("canary",))

    refused = await admin.act(proposal, "apply")
    hidden = await someone.call("GET", f"{PROPOSALS}/{proposal['id']}")

    assert (refused.status, refused.body["code"]) == (409, "proposal_outdated")
    assert hidden.status == 404
    assert (await someone.get(PROPOSALS))["items"] == []


async def test_list_has_filters_and_pages(author: Person, reviewer: Person) -> None:
    first = await author.propose(put("a", 1))
    second = await reviewer.propose(put("b", 1), draft=True)
    third = await author.propose(put("c", 1), environment="production")

    async def ids(query: str) -> list[int]:
        return [item["id"] for item in (await author.get(f"{PROPOSALS}?{query}"))["items"]]

    assert await ids("") == [third["id"], second["id"], first["id"]]
    assert await ids("state=draft") == [second["id"]]
    assert await ids("state=approved,open&environment=staging") == [first["id"]]
    assert await ids(f"author={reviewer.actor}") == [second["id"]]
    page = await author.get(f"{PROPOSALS}?limit=2")
    assert page["next"] == second["id"]
    assert await ids(f"limit=2&before={page['next']}") == [first["id"]]
    assert (await author.call("GET", f"{PROPOSALS}?state=gone")).status == 400


async def test_repeated_request_gets_its_first_answer(author: Person) -> None:
    body = {"title": "x", "environment": "staging", "operations": [put("a", 1)]}

    created = [await author.call("POST", PROPOSALS, body, Idempotency_Key="one") for _ in range(2)]
    path = f"{PROPOSALS}/{created[0].body['id']}/apply"
    applied = [
        await author.call("POST", path, {}, If_Match='"1"', Idempotency_Key="two") for _ in range(2)
    ]

    assert created[0].body == created[1].body
    assert [answer.status for answer in applied] == [200, 200]
    assert applied[0].body == applied[1].body
    assert len((await author.get(PROPOSALS))["items"]) == 1


async def test_two_applications_at_one_moment_write_once(service: Service, author: Person) -> None:
    proposal = await author.propose(put("a", 1))

    answers = await asyncio.gather(*(author.act(proposal, "apply") for _ in range(4)))

    assert sorted(answer.status for answer in answers) == [200, 409, 409, 409]
    assert len(await rows(service, "select 1 from change_sets")) == 1


async def test_decision_without_a_version_is_refused(author: Person) -> None:
    proposal = await author.propose(put("a", 1))

    for action in ("approve", "apply", "schedule"):
        answer = await author.call(
            "POST", f"{PROPOSALS}/{proposal['id']}/{action}", {"apply_at": None}
        )
        assert answer.status == 428, action


async def test_properties_need_the_scope_admin_when_applied(
    service: Service, author: Person
) -> None:
    patch = {"op": "patch", "version": 1, "metadata": {"team": "web"}, "protected": True}
    proposal = await author.propose(patch)

    refused = await author.act(proposal, "apply")
    applied = await Person(service, service.admin_token).act(proposal, "apply")

    assert (refused.status, refused.body["code"]) == (403, "scope_missing")
    assert applied.status == 200
    environment = await author.get("/v1/environments/staging")
    assert (environment["protected"], environment["metadata"]) == (True, {"team": "web"})


async def test_decisions_are_in_the_access_log(
    service: Service, author: Person, reviewer: Person
) -> None:
    await protect(service, approvals=1)
    proposal = await author.propose(put("a", 1))
    await reviewer.act(proposal, "approve")
    await author.act(proposal, "apply")

    logged = await rows(
        service,
        "select actor, environment, detail from access_log where resource = $1 order by id",
        f"proposal {proposal['id']}",
    )

    assert [tuple(row) for row in logged] == [
        (author.actor, "staging", "submitted"),
        (reviewer.actor, "staging", "approved"),
        (author.actor, "staging", "applied"),
    ]


async def test_events_are_append_only(service: Service) -> None:
    rights = await rows(
        service,
        "select privilege_type from information_schema.role_table_grants "
        "where table_name = 'proposal_events' and grantee = current_user",
    )

    assert {row["privilege_type"] for row in rights} == {"SELECT", "INSERT"}


async def test_proposal_of_1000_operations_is_applied(author: Person) -> None:
    operations = [put(f"k{n}", n) for n in range(1_000)]

    proposal = await author.propose(*operations)
    applied = await author.act(proposal, "apply")

    assert proposal["operations_count"] == 1_000
    assert applied.status == 200
    assert await author.value("k999") == 999
