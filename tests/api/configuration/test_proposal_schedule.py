"""Scheduled proposals: when they are applied, by whom, and why they fail."""

import asyncio
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from app.access.guard import ACCESS_LOG, TOKENS
from app.configuration.changes.write_requests import CHECKS
from app.configuration.proposals.watch import WATCH, ProposalWatch
from app.http.keys import DATABASE
from app.secrets.reveal import VAULT
from tests.api.configuration.proposal_calls import (
    PROPOSALS,
    Person,
    person,
    protect,
    put,
    rows,
    write,
)
from tests.conftest import Admin, Service
from tests.waiting import HANG_SECONDS, until


@pytest.fixture
async def author(service: Service) -> Person:
    return await person(service)


def _at(seconds: float) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()


async def _decided(someone: Person, proposal: Any) -> Any:
    """Wait until the service has applied the proposal, or marked it as failed."""

    async def is_decided() -> bool:
        return bool((await someone.read(proposal))["state"] != "scheduled")

    await until(is_decided)
    return await someone.read(proposal)


def _due(admin: Admin, proposal: Any, late_seconds: float = 1) -> None:
    """Make a scheduled proposal due, as if the service had been down since."""
    admin.execute(
        "update flagstone.proposals set apply_at = clock_timestamp() - make_interval(secs => %s) "
        "where id = %s",
        [late_seconds, proposal["id"]],
    )


async def test_scheduled_proposal_is_applied_at_its_time(service: Service, author: Person) -> None:
    proposal = await author.propose(put("a", 1))
    at = _at(0.5)

    scheduled = await author.act(proposal, "schedule", apply_at=at)
    before, read_at = await author.value("a"), datetime.now(UTC)
    applied = await _decided(author, proposal)

    assert (scheduled.status, scheduled.body["state"]) == (200, "scheduled")
    assert scheduled.body["scheduled_by"] == author.actor
    # On a busy machine its time may have come already.
    assert before is None or read_at >= datetime.fromisoformat(at)
    assert applied["state"] == "applied"
    assert await author.value("a") == 1
    (row,) = await rows(
        service, "select actor, kind, created_at from change_sets where environment = 'staging'"
    )
    assert (row["actor"], row["kind"]) == (author.actor, "proposal")
    assert row["created_at"] >= datetime.fromisoformat(at)


async def test_schedule_needs_the_approvals(service: Service, author: Person) -> None:
    await protect(service, approvals=1)
    proposal = await author.propose(put("a", 1))

    refused = await author.act(proposal, "schedule", apply_at=_at(60))
    await (await person(service)).act(proposal, "approve")
    scheduled = await author.act(proposal, "schedule", apply_at=_at(60))

    assert (refused.status, refused.body["code"]) == (409, "approvals_missing")
    assert (
        refused.body["detail"]
        == "The proposal lacks approvals: staging needs 1 more approval for a."
    )
    assert scheduled.body["state"] == "scheduled"


async def test_schedule_can_be_ended(author: Person) -> None:
    proposal = await author.propose(put("a", 1))
    await author.act(proposal, "schedule", apply_at=_at(60))

    ended = await author.act(proposal, "schedule", apply_at=None)
    again = await author.act(proposal, "schedule", apply_at=None)

    assert (ended.body["state"], ended.body["apply_at"]) == ("approved", None)
    assert again.status == 409


async def test_time_in_the_past_is_refused(author: Person) -> None:
    proposal = await author.propose(put("a", 1))

    refused = await author.act(proposal, "schedule", apply_at=_at(-3_600))

    assert refused.status == 422
    assert refused.body["errors"] == [{"field": "apply_at", "rule": "must not be in the past"}]


async def test_edit_ends_the_schedule(author: Person) -> None:
    proposal = await author.propose(put("a", 1))
    await author.act(proposal, "schedule", apply_at=_at(60))

    edited = await author.edit(proposal, title="Other")

    assert (edited.body["state"], edited.body["apply_at"]) == ("approved", None)


async def test_stale_scheduled_proposal_fails_with_the_reason(
    service: Service, author: Person, cleaner: Admin
) -> None:
    proposal = await author.propose(put("a", 1))
    await author.act(proposal, "schedule", apply_at=_at(60))
    await write(service, put("a", 9))

    _due(cleaner, proposal)
    service.app[WATCH].hint()
    failed = await _decided(author, proposal)

    assert failed["state"] == "failed"
    assert failed["reason"] == (
        "The proposal is out of date in staging: a is at version 1. Read its preview, and edit it."
    )
    assert failed["events"][-1]["event"] == "failed"
    assert await author.value("a") == 9
    edited = await author.edit(proposal, operations=[put("a", 2, 1)], environment="staging")
    assert edited.body["state"] == "draft"


async def test_reason_of_a_hidden_environment_is_not_shown(
    service: Service, author: Person, cleaner: Admin
) -> None:
    proposal = await author.propose(put("a", 1), put("hidden", 1, environment="local"))
    await author.act(proposal, "schedule", apply_at=_at(60))
    await write(service, put("hidden", 9), environment="local")
    _due(cleaner, proposal)
    service.app[WATCH].hint()
    await _decided(author, proposal)
    stranger = await person(service, environments=("staging",))

    seen = await stranger.read(proposal)
    listed = (await stranger.get(PROPOSALS))["items"][0]

    assert (seen["state"], seen["operations_count"], listed["operations_count"]) == ("failed", 1, 1)
    assert seen["reason"] == seen["events"][-1]["text"] == listed["reason"]
    assert "hidden" not in str(seen["reason"])
    assert "local" not in str([seen["events"], seen["reason"]])


async def test_guard_made_later_fails_the_scheduled_proposal(
    service: Service, author: Person, cleaner: Admin
) -> None:
    flag = {"state": "ENABLED", "variants": {"on": True, "off": False}, "defaultVariant": "on"}
    rule = {"$ref": "beta"}
    await write(service, put("beta", {"==": [1, 1]}, kind="segment"))
    proposal = await author.propose(put("beta", {"==": [1, 2]}, 1, kind="segment"))
    await author.act(proposal, "schedule", apply_at=_at(60))
    guards = [{"name": "all", "context": {"targetingKey": "u"}, "variant": "on"}]
    guarded = flag | {"targeting": {"if": [rule, "on", "off"]}, "guards": guards}
    await write(service, put("f", guarded, kind="flag"))

    _due(cleaner, proposal)
    service.app[WATCH].hint()
    failed = await _decided(author, proposal)

    assert failed["state"] == "failed"
    assert "must get on" in failed["reason"]


async def test_late_proposal_is_applied_within_its_limit(
    service: Service, author: Person, cleaner: Admin
) -> None:
    in_time, late = await author.propose(put("a", 1)), await author.propose(put("b", 1))
    for proposal in (in_time, late):
        await author.act(proposal, "schedule", apply_at=_at(60), expires_after_seconds=600)

    _due(cleaner, in_time, 500)
    _due(cleaner, late, 700)
    service.app[WATCH].hint()
    decided = [await _decided(author, proposal) for proposal in (in_time, late)]

    assert [proposal["state"] for proposal in decided] == ["applied", "failed"]
    late_by = re.search(
        r" UTC, (\d+) s ago[.] It may be applied up to 600 s late[.] Schedule it again[.]$",
        decided[1]["reason"],
    )
    assert late_by is not None
    assert 700 <= int(late_by[1]) < 700 + HANG_SECONDS


async def test_revoked_scheduler_no_longer_applies(
    service: Service, author: Person, cleaner: Admin
) -> None:
    reader = await person(service)
    proposal = await author.propose(put("a", 1))
    await author.act(proposal, "schedule", apply_at=_at(60))
    await service.revoke(author.token)

    _due(cleaner, proposal)
    service.app[WATCH].hint()
    failed = await _decided(reader, proposal)

    assert failed["reason"] == (
        "Who scheduled it may no longer write in staging. Schedule it again."
    )


async def test_revoked_approver_fails_the_scheduled_proposal(
    service: Service, author: Person, cleaner: Admin
) -> None:
    await protect(service, approvals=1)
    reviewer = await person(service)
    proposal = await author.propose(put("a", 1))
    await reviewer.act(proposal, "approve")
    await author.act(proposal, "schedule", apply_at=_at(60))
    await service.revoke(reviewer.token)

    _due(cleaner, proposal)
    service.app[WATCH].hint()
    failed = await _decided(author, proposal)

    assert failed["state"] == "failed"
    assert "staging needs 1 more approval" in failed["reason"]
    assert await author.value("a") is None


async def test_several_replicas_apply_each_proposal_once(
    service: Service, author: Person, cleaner: Admin
) -> None:
    proposals = [await author.propose(put(f"k{number}", 1)) for number in range(6)]
    for proposal in proposals:
        await author.act(proposal, "schedule", apply_at=_at(60))
    app = service.app
    replicas = [
        ProposalWatch(
            *(app[DATABASE], app[VAULT], app[CHECKS], app[ACCESS_LOG]),
            key=app[TOKENS].key,
            on_event=lambda: None,
        )
        for _ in range(3)
    ]

    for proposal in proposals:
        _due(cleaner, proposal)
    tasks = [asyncio.create_task(replica.run()) for replica in replicas]
    try:
        decided = [await _decided(author, proposal) for proposal in proposals]
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    assert {proposal["state"] for proposal in decided} == {"applied"}
    assert len(await rows(service, "select 1 from change_sets")) == 6
    applied = await rows(service, "select 1 from proposal_events where event = 'applied'")
    assert len(applied) == 6
