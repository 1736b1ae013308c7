"""Previews of proposals: differences in words, conflicts with three contents, effects on flags."""

from typing import Any

import pytest

from app.access.models import Scope
from tests.api.configuration.proposal_calls import (
    PROPOSALS,
    Person,
    delete,
    person,
    put,
    write,
)
from tests.conftest import Admin, Service
from tests.factories import flag


@pytest.fixture
async def author(service: Service) -> Person:
    return await person(service)


async def _preview(someone: Person, proposal: Any) -> Any:
    return await someone.get(f"{PROPOSALS}/{proposal['id']}/preview")


async def test_preview_says_the_changes_in_words(service: Service, author: Person) -> None:
    await write(service, put("a", 1), put("b", 1))
    proposal = await author.propose(
        put("a", 2, 1), delete("b", 1), {"op": "patch", "version": 1, "metadata": {"team": "web"}}
    )

    preview = await _preview(author, proposal)

    (shown,) = preview["environments"]
    assert preview["can_apply"] is True
    assert shown["words"] == [
        'Metadata team of the environment is added: "web"',
        "a changes from 1 to 2",
        "Setting b is deleted; its value is 1",
    ]
    assert [change["key"] for change in shown["changes"]] == ["a", "b"]
    assert shown["changes"][0]["patch"] == [{"op": "replace", "path": "", "value": 2}]
    assert shown["properties"]["after"]["metadata"] == {"team": "web"}
    assert (shown["conflicts"], shown["refusals"]) == ([], [])


async def test_moved_key_shows_three_contents(service: Service, author: Person) -> None:
    await write(service, put("a", "base"), put("b", 1))
    proposal = await author.propose(put("a", "yours", 1), put("b", 2, 1), put("new", 1))
    await write(service, put("a", "theirs", 1), put("new", 9))
    await write(service, put("unrelated", 1))

    preview = await _preview(author, proposal)

    (shown,) = preview["environments"]
    assert preview["can_apply"] is False
    conflicts = {item["key"]: item for item in shown["conflicts"]}
    assert conflicts.keys() == {"a", "new"}
    values = [conflicts["a"][side]["value"] for side in ("base", "theirs", "yours")]
    assert values == ["base", "theirs", "yours"]
    assert conflicts["a"]["expected_version"] == 1
    assert (conflicts["new"]["base"], conflicts["new"]["theirs"]["value"]) == (None, 9)
    assert [refusal["code"] for refusal in shown["refusals"]] == ["proposal_stale"]


async def test_restore_to_before_the_proposal_is_a_conflict(
    service: Service, author: Person
) -> None:
    await write(service, put("a", 1))
    await write(service, put("a", 2, 1))
    proposal = await author.propose(put("a", 3, 2))
    restored = await author.call("POST", "/v1/environments/staging/restore", {"revision": 1})

    preview = await _preview(author, proposal)

    assert restored.status == 200
    (conflict,) = preview["environments"][0]["conflicts"]
    values = [conflict[side]["value"] for side in ("base", "theirs", "yours")]
    assert values == [2, 1, 3]


async def test_preview_counts_the_keys_that_change(service: Service, author: Person) -> None:
    await write(service, put("f", flag(defaultVariant="off"), kind="flag"))
    half = flag(defaultVariant="off", targeting={"fractional": [["on", 25], ["off", 75]]})
    proposal = await author.propose(put("f", half, 1, kind="flag"))

    preview = await _preview(author, proposal)

    (shown,) = preview["environments"][0]["flags"]
    assert shown["sample"]["keys"] == 10_000
    assert 2_300 < shown["sample"]["changed"] < 2_700


async def test_preview_shows_the_guards_that_break(service: Service, author: Person) -> None:
    guards = [{"name": "staff", "context": {"targetingKey": "u"}, "variant": "on"}]
    await write(service, put("f", flag(defaultVariant="on"), kind="flag"))
    proposal = await author.propose(
        put("f", flag(defaultVariant="off", guards=guards), 1, kind="flag"), draft=True
    )

    preview = await _preview(author, proposal)
    submitted = await author.act(proposal, "submit")

    (shown,) = preview["environments"]
    assert [refusal["code"] for refusal in shown["refusals"]] == ["guard_broken"]
    assert shown["flags"][0]["guards"][0]["holds"] is False
    assert (submitted.status, submitted.body["code"]) == (422, "guard_broken")


async def test_preview_needs_no_scope_but_read(service: Service, author: Person) -> None:
    proposal = await author.propose(put("a", 1), put("a", 1, environment="production"))
    reader = await person(service, Scope.READ, environments=("staging",))
    writer = await person(service, Scope.WRITE)

    preview = await _preview(reader, proposal)
    refused = await writer.call("GET", f"{PROPOSALS}/{proposal['id']}/preview")
    foreign = await reader.call(
        "GET", f"{PROPOSALS}/{proposal['id']}/preview?environment=production"
    )

    assert [item["environment"] for item in preview["environments"]] == ["staging"]
    assert (refused.status, foreign.status) == (403, 403)


async def test_preview_changes_nothing(service: Service, author: Person) -> None:
    proposal = await author.propose(put("seg", {"==": [1, 1]}, kind="segment"))

    await _preview(author, proposal)
    environment = await author.get("/v1/environments/staging")

    assert environment["revision"] == 0
    assert await author.value("seg") is None
    assert service.url


async def test_flag_is_evaluated_in_the_proposed_state(service: Service, author: Person) -> None:
    await write(
        service,
        put("beta", {"==": [{"var": "plan"}, "free"]}, kind="segment"),
        put("f", flag(targeting={"if": [{"$ref": "beta"}, "on", "off"]}), kind="flag"),
    )
    segment = {"==": [{"var": "plan"}, "paid"]}
    proposal = await author.propose(put("beta", segment, 1, kind="segment"))
    path = f"{PROPOSALS}/{proposal['id']}/evaluate"

    answer = await author.call("POST", path, {"flag": "f", "context": {"plan": "paid"}})
    unknown = await author.call("POST", path, {"flag": "none"})

    assert answer.body["outcome"]["variant"] == "on"
    assert answer.body["steps"]
    assert (unknown.status, unknown.body["code"]) == (404, "flag_unknown")


async def test_evaluation_names_one_of_several_environments(author: Person) -> None:
    value = flag(defaultVariant="on")
    proposal = await author.propose(
        put("f", value, kind="flag"), put("f", value, kind="flag", environment="production")
    )
    path = f"{PROPOSALS}/{proposal['id']}/evaluate"

    without = await author.call("POST", path, {"flag": "f"})
    named = await author.call("POST", path, {"flag": "f", "environment": "production"})

    assert without.body["errors"] == [
        {"field": "environment", "rule": "must be one of production, staging"}
    ]
    assert named.body["outcome"]["variant"] == "on"


async def test_shredded_secret_is_a_refusal_of_the_preview(author: Person, cleaner: Admin) -> None:
    proposal = await author.propose(put("password", "hunter2-hunter2", kind="secret"))
    cleaner.execute(
        "update flagstone.data_keys set wrapped = null, retired_at = now(), destroyed_at = now()"
    )

    preview = await _preview(author, proposal)

    (shown,) = preview["environments"]
    assert [refusal["code"] for refusal in shown["refusals"]] == ["secret_shredded"]
    assert shown["changes"][0]["after"]["value"] is None
    assert "hunter2" not in str(preview)
