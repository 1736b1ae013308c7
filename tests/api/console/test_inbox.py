"""The inbox of proposals: what waits for a person, and the news of their own proposals."""

from datetime import UTC, datetime, timedelta

import pytest

from app.access.models import Scope
from app.access.sessions.cookie import PLAIN_NAME
from app.configuration.proposals.watch import WATCH
from app.http.keys import DATABASE
from tests.api.configuration.proposal_calls import Person, person, protect, put
from tests.api.console.test_proposals import INBOX, visit
from tests.conftest import Admin, Service
from tests.people import SignedIn, give, sign_in_person
from tests.waiting import until

READ, PROPOSE, APPROVE = Scope.READ, Scope.PROPOSE, Scope.APPROVE
NEWS = "News of your proposals"


@pytest.fixture
async def author(service: Service) -> Person:
    await protect(service, approvals=1)
    return await person(service, READ, Scope.WRITE)


@pytest.fixture
async def payer(service: Service) -> Person:
    return await person(service, READ, APPROVE, prefixes=("payments/",))


@pytest.fixture
async def searcher(service: Service) -> Person:
    return await person(service, READ, APPROVE, prefixes=("search/",))


async def section(caller: Person, name: str) -> list[str]:
    """Return the lines of a section of the page, none if it is not shown."""
    page = await visit(caller, INBOX)
    sections = page.all("section", **{"aria-label": name})
    return [" ".join(item.text.split()) for part in sections for item in part.all("li")]


async def waiting(caller: Person) -> list[str]:
    """Return the titles in the tab To review, each with the keys that wait for the caller."""
    page = await visit(caller, INBOX)
    return [
        " ".join(f"{row.one('a').text}: {row.one('span', data_waits='').text}".split())
        for row in page.all("th", scope="row")
    ]


async def count(caller: Person) -> str:
    return (await visit(caller, f"{INBOX}/waiting")).text.strip().partition("in your")[0]


async def test_proposal_waits_for_those_who_may_approve_a_key(
    author: Person, payer: Person, searcher: Person
) -> None:
    both = await author.propose(put("payments/a", 1), put("search/b", 1), title="Both")
    await author.propose(put("payments/c", 1), title="Payments")

    payments, both_own = "Payments: payments/c in staging", "Both: payments/a in staging"
    assert await waiting(payer) == [payments, both_own]
    assert await waiting(searcher) == ["Both: search/b in staging"]
    assert await waiting(author) == []
    assert [await count(caller) for caller in (author, payer, searcher)] == ["", "2", "1"]

    await payer.act(both, "approve")

    assert await waiting(payer) == [payments]
    assert await waiting(searcher) == ["Both: search/b in staging"]


async def test_revoked_approval_waits_again(
    service: Service, author: Person, payer: Person
) -> None:
    other = await person(service, READ, APPROVE, prefixes=("payments/",))
    proposal = await author.propose(put("payments/a", 1), title="One")
    await other.act(proposal, "approve")
    approved = await count(payer)

    await service.revoke(other.token)

    assert (approved, await count(payer)) == ("", "1")


async def test_author_sees_news_until_they_look(
    author: Person, payer: Person, searcher: Person
) -> None:
    proposal = await author.propose(put("payments/a", 1), put("search/b", 1), title="Both")
    before = await count(author)
    await payer.act(proposal, "approve")
    await searcher.act(proposal, "comment", text="Why?")

    news, counted = await section(author, NEWS), await count(author)
    await visit(author, f"{INBOX}/{proposal['id']}")
    read = await count(author)
    await searcher.act(proposal, "reject", reason="No")

    assert (before, counted, read) == ("", "1", "")
    assert news == ["Both open New: approved, commented"]
    assert await section(author, NEWS) == ["Both rejected New: rejected"]
    assert await section(payer, NEWS) == []


async def test_news_of_a_foreign_proposal_are_not_counted(service: Service, payer: Person) -> None:
    await protect(service, approvals=1)
    wide = await person(service, READ, PROPOSE)
    proposal = await wide.propose(put("search/b", 1), title="Search")
    reviewer = await person(service)
    await reviewer.act(proposal, "approve")

    assert await count(wide) == "1"
    assert await count(payer) == ""


async def browse(
    service: Service, reviewer: SignedIn, method: str, path: str, **fields: str
) -> str:
    """Return the status, or the text of a page, for a person in a browser."""
    headers = {"Cookie": f"{PLAIN_NAME}={reviewer.text}", "Origin": service.url}
    async with service.stranger.request(
        method, path, headers=headers, data=fields or None, allow_redirects=False
    ) as answer:
        text = await answer.text()
        assert answer.status in {200, 303}, text
        return text


async def test_group_that_loses_its_grant_no_longer_approves(
    service: Service, author: Person
) -> None:
    """Two people of two groups with a prefix each; the grant of one group ends in the middle."""
    lost = await give(service, "seniors", "reviewer", prefix="payments/")
    await give(service, "searchers", "reviewer", prefix="search/")
    asha = await sign_in_person(service, "asha", "seniors")
    ben = await sign_in_person(service, "ben", "searchers")
    proposal = await author.propose(put("payments/a", 1), put("search/b", 1), title="Both")
    page = f"{INBOX}/{proposal['id']}"

    seen = await browse(service, asha, "GET", INBOX)
    for reviewer in (asha, ben):
        await browse(service, reviewer, "POST", f"{page}/approve", version="1")
    approved = await author.read(proposal)
    async with service.app[DATABASE].connection() as connection:
        await connection.execute("delete from grants where id = $1", lost.id)
    refused = await author.act(proposal, "apply")
    after = await author.read(proposal)

    assert "payments/a in staging" in seen
    assert "search/b" not in seen
    assert approved["state"] == "approved"
    assert sorted(approved["approvals"][0]["approver_names"]) == ["Asha", "Ben"]
    assert (refused.status, refused.body["code"]) == (409, "approvals_missing")
    assert [item["keys"] for item in after["approvals"][0]["lacking"]] == [["payments/a"]]
    assert after["approvals"][0]["approver_names"] == ["Ben"]

    await give(service, "newcomers", "reviewer", prefix="payments/")
    chidi = await sign_in_person(service, "chidi", "newcomers")
    assert "payments/a in staging" in await browse(service, chidi, "GET", INBOX)
    assert "group newcomers" in str((await author.read(proposal))["approvals"])
    await browse(service, chidi, "POST", f"{page}/approve", version="1")
    assert (await author.act(proposal, "apply")).status == 200


async def test_schedule_fails_if_its_person_may_no_longer_write_a_key(
    service: Service, author: Person, cleaner: Admin
) -> None:
    await give(service, "writers", "reviewer", prefix="search/")
    lost = await give(service, "writers", "editor", prefix="payments/")
    asha = await sign_in_person(service, "asha", "writers")
    proposal = await author.propose(put("payments/a", 1), put("search/b", 1), title="Both")
    page, tomorrow = f"{INBOX}/{proposal['id']}", f"{datetime.now(UTC) + timedelta(days=1):%FT%RZ}"
    await (await person(service)).act(proposal, "approve")
    await browse(service, asha, "POST", f"{page}/schedule", version="1", apply_at=tomorrow)
    scheduled = await author.read(proposal)

    cleaner.execute("delete from flagstone.grants where id = %s", [lost.id])
    cleaner.execute(
        "update flagstone.proposals set apply_at = clock_timestamp() where id = %s",
        [proposal["id"]],
    )
    service.app[WATCH].hint()

    async def is_decided() -> bool:
        return bool((await author.read(proposal))["state"] != "scheduled")

    await until(is_decided)
    failed = await author.read(proposal)
    assert (scheduled["state"], scheduled["scheduled_by_name"]) == ("scheduled", "Asha")
    assert failed["state"] == "failed"
    assert failed["reason"] == (
        "Who scheduled it may no longer write payments/a in staging. Schedule it again."
    )
    assert await author.value("search/b") is None


async def test_page_says_who_may_approve_which_keys(
    service: Service, author: Person, payer: Person
) -> None:
    await give(service, "seniors", "reviewer", prefix="search/")
    proposal = await author.propose(put("payments/a", 1), put("search/b", 1), title="Both")
    page = f"{INBOX}/{proposal['id']}"

    whole = " ".join((await visit(author, page)).text.split())
    part = " ".join((await visit(payer, page)).text.split())

    assert "payments/a: token local admin, token test may approve" in whole
    assert "search/b: group seniors, token local admin may approve" in whole
    assert "payments/a: token local admin, token test may approve" in part
    assert "keys that you may not read" in part
    assert "search/" not in part
