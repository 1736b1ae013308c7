"""The pages of proposals: a save in a protected environment, and its review by others."""

import re
from typing import Any

import pytest

from app.access.models import Scope
from tests.api.configuration.proposal_calls import Answer, Person, person, protect, put, write
from tests.conftest import Service
from tests.html import Element, parse_html

INBOX = "/console/proposals"
FLAG = {"state": "ENABLED", "variants": {"on": True, "off": False}, "defaultVariant": "on"}
SWITCH = "/console/environments/staging/flag-switch/checkout"


async def post(caller: Person, path: str, **fields: object) -> Answer:
    """Post a form as a page of the console does."""
    headers = {"X-API-Key": caller.token, "Origin": caller.service.url}
    async with caller.service.stranger.post(
        path, data=fields, headers=headers, allow_redirects=False
    ) as answer:
        return Answer(answer.status, await answer.text(), answer.headers)


async def visit(caller: Person, path: str) -> Element:
    async with caller.service.stranger.get(path, headers={"X-API-Key": caller.token}) as answer:
        assert answer.status == 200, await answer.text()
        return parse_html(await answer.text())


def buttons(page: Element) -> set[str]:
    """Return the buttons of the forms that change a proposal."""
    forms = [
        form
        for form in page.all("form", method="post")
        if "/proposals/" in form["action"] and not form["action"].endswith("/try")
    ]
    return {button.text.strip() for form in forms for button in form.all("button")}


@pytest.fixture
async def author(service: Service) -> Person:
    return await person(service)


@pytest.fixture
async def reviewer(service: Service) -> Person:
    return await person(service)


async def _switched_off(service: Service, author: Person) -> str:
    """Switch a flag off in a protected environment; return the page of the proposal."""
    await write(service, put("checkout", FLAG, kind="flag"))
    await protect(service, approvals=1)
    answer = await post(author, SWITCH, version=1, to="off", message="Too slow")
    assert answer.status == 303, answer.body
    return str(answer.headers["Location"]).partition("?")[0]


async def _read(caller: Person, page: str) -> Any:
    return await caller.get(f"/v1/proposals/{page.rpartition('/')[2]}")


async def test_save_in_a_protected_environment_is_proposed(
    service: Service, author: Person, reviewer: Person
) -> None:
    page = await _switched_off(service, author)
    own, other = await visit(author, page), await visit(reviewer, page)
    waiting = [await visit(caller, f"{INBOX}/waiting") for caller in (author, reviewer)]

    assert await author.value("checkout") == FLAG
    assert "Too slow" in own.one("h1").text
    assert buttons(own) == {"Reject", "Withdraw", "Comment"}
    assert buttons(other) == {"Approve", "Reject", "Comment"}
    assert "needs 1 more approval" in other.text
    assert "10,000 of 10,000 keys changed" in other.text
    assert [item.text.strip() for item in waiting] == ["", "1in your inbox"]


async def test_effect_of_a_proposed_new_flag_has_no_variant_before(
    service: Service, author: Person, reviewer: Person
) -> None:
    await protect(service, approvals=1)
    proposal = await author.propose(put("checkout", FLAG, kind="flag"))

    page = await visit(reviewer, f"{INBOX}/{proposal['id']}")

    assert "10,000 from no flag to on" in " ".join(page.text.split())


async def test_approved_proposal_is_applied_from_its_page(
    service: Service, author: Person, reviewer: Person
) -> None:
    page = await _switched_off(service, author)

    early = await post(author, f"{page}/apply", version=1)
    own = await post(author, f"{page}/approve", version=1)
    approved = await post(reviewer, f"{page}/approve", version=1, text="Fine")
    ready = await visit(author, page)
    applied = await post(author, f"{page}/apply", version=1)
    after = await visit(author, page)

    assert (early.status, "lacks approvals" in early.body) == (409, True)
    assert (own.status, "cannot approve it" in own.body) == (403, True)
    assert (approved.status, applied.status) == (303, 303)
    assert {"Apply now", "Schedule"} <= buttons(ready)
    assert (await author.value("checkout"))["defaultVariant"] == "off"
    text = " ".join(after.text.split())
    assert re.search(r"Applied by test .* as revision 3 of staging", text)
    assert "approved by test" in text
    assert after.all("ins")
    assert after.all("del")
    assert "Fine" in text


async def test_rejected_proposal_is_edited_and_submitted_again(
    service: Service, author: Person, reviewer: Person
) -> None:
    page = await _switched_off(service, author)

    silent = await post(reviewer, f"{page}/reject", version=1)
    await post(reviewer, f"{page}/reject", version=1, text="Say why")
    form = (await visit(author, f"{page}/edit")).one("form", id="edit-proposal")
    (seen,) = (item["value"] for item in form.all("input", name="seen"))
    fields = {"version": 1, "seen": seen, "title": "Checkout off", "message": "Errors"}
    broken = await post(author, f"{page}/edit", **fields, operation="{")
    value = '{"state": "DISABLED", "variants": {"on": true}, "defaultVariant": "on"}'
    saved = await post(author, f"{page}/edit", **fields, operation=value)
    submitted = await post(author, f"{page}/submit", version=2)
    state = await _read(author, page)

    assert (silent.status, "must not be empty" in silent.body) == (422, True)
    assert (broken.status, saved.status, submitted.status) == (422, 303, 303)
    assert (state["title"], state["state"], state["version"]) == ("Checkout off", "open", 2)
    assert state["operations"][0]["value"]["state"] == "DISABLED"


async def test_moved_key_shows_both_changes_and_the_edit_rebases(
    service: Service, author: Person
) -> None:
    await write(service, put("a", {"n": 1}))
    await protect(service, approvals=1, keys=["b"])
    proposal = await author.propose(put("a", {"n": 2}, version=1), put("b", 1))
    await write(service, put("a", {"n": 3}, version=1))
    page = f"{INBOX}/{proposal['id']}"

    shown = await visit(author, page)
    form = (await visit(author, f"{page}/edit")).one("form", id="edit-proposal")
    seen = [item["value"] for item in form.all("input", name="seen")]
    headers = {"X-API-Key": author.token, "Origin": service.url}
    fields = [("version", "1"), ("title", "T"), ("message", "")]
    fields += [("seen", value) for value in seen]
    fields += [("operation", '{"n": 4}'), ("operation", "1")]
    async with service.stranger.post(
        f"{page}/edit", data=fields, headers=headers, allow_redirects=False
    ) as answer:
        status = answer.status

    assert "has changed since it was proposed" in shown.text
    assert [line.text.strip() for line in shown.all("ins")][:2] == ['"n": 3', '"n": 2']
    assert (seen, status) == (["2", "0"], 303)
    assert (await author.read(proposal))["operations"][0]["version"] == 2


async def test_emergency_needs_scope_and_reason(service: Service, author: Person) -> None:
    publisher = await person(service, Scope.READ, Scope.WRITE, Scope.PUBLISH)
    page = await _switched_off(service, author)

    refused = await post(author, f"{page}/emergency", version=1, text="outage")
    silent = await post(publisher, f"{page}/emergency", version=1, text=" ")
    applied = await post(publisher, f"{page}/emergency", version=1, text="outage")

    assert "Apply without approval" not in buttons(await visit(author, page))
    assert (refused.status, silent.status, applied.status) == (403, 422, 303)
    assert (await author.value("checkout"))["defaultVariant"] == "off"


async def test_schedule_is_set_and_ended(
    service: Service, author: Person, reviewer: Person
) -> None:
    page = await _switched_off(service, author)
    await post(reviewer, f"{page}/approve", version=1)

    wrong = await post(author, f"{page}/schedule", version=1, apply_at="soon")
    past = await post(author, f"{page}/schedule", version=1, apply_at="2020-01-01T09:00")
    scheduled = await post(author, f"{page}/schedule", version=1, apply_at="2029-01-01T09:00Z")
    state = await _read(author, page)
    ended = await post(author, f"{page}/unschedule", version=1)

    assert (wrong.status, past.status) == (422, 422)
    assert (scheduled.status, ended.status) == (303, 303)
    assert (state["state"], state["apply_at"]) == ("scheduled", "2029-01-01T09:00:00Z")
    assert (await _read(author, page))["state"] == "approved"


async def test_inbox_has_filters_and_only_own_environments(
    service: Service, author: Person, reviewer: Person
) -> None:
    await _switched_off(service, author)
    stranger = await person(service, environments=("local",))
    reader = await person(service, Scope.READ)

    lists = {
        show: (await visit(author, f"{INBOX}?show={show}")).all("tbody")
        for show in ("review", "mine", "in-review", "decided", "all", "nonsense")
    }

    assert [bool(body) for body in lists.values()] == [False, True, True, False, True, False]
    assert (await visit(reviewer, INBOX)).all("tbody")
    assert "You have no open proposal" in (await visit(reviewer, f"{INBOX}?show=mine")).text
    assert "Nothing waits for you" in (await visit(stranger, INBOX)).text
    page = f"{INBOX}/{(await author.get('/v1/proposals'))['items'][0]['id']}"
    assert buttons(await visit(reader, page)) == set()
    async with service.stranger.get(page, headers={"X-API-Key": stranger.token}) as answer:
        assert answer.status == 404


async def test_context_is_evaluated_in_the_proposed_state(
    service: Service, author: Person, reviewer: Person
) -> None:
    page = await _switched_off(service, author)

    tried = await post(reviewer, f"{page}/try", flag="checkout", context='{"a": 1}')
    broken = await post(reviewer, f"{page}/try", flag="checkout", context="[")
    unknown = await post(reviewer, f"{page}/try", flag="none", context="")

    (said,) = parse_html(tried.body).one("main", id="main").all("p", role="status")
    assert " ".join(said.text.split()).startswith("checkout gets off")
    assert (tried.status, broken.status, unknown.status) == (200, 422, 404)
