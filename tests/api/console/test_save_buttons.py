"""Each button that saves says what it does for the caller: write, propose, or it is not there."""

import re

import pytest

from app.access.models import Scope
from tests.api.configuration.proposal_calls import Person, person, protect, put, write
from tests.api.console.test_plan import planned
from tests.api.console.test_proposals import post
from tests.conftest import Service
from tests.factories import flag
from tests.html import Element, parse_html

PRODUCTION = "/console/environments/production"
# Each page, with the buttons of a writer and those of a person who may only propose.
PAGES = {
    "/flag-switch/checkout": {"Switch off": "Propose to switch off"},
    "/flags/checkout": {"Save to production": "Propose the change"},
    "/flags/checkout?view=plan": {"Save the plan to production": "Propose the plan"},
    "/flag-plan-control/planned?action=pause": {"Pause the plan": "Propose to pause the plan"},
    "/flag-copy/only-staging?source=staging": {
        "Create in production": "Propose to create in production"
    },
    "/flag-actions?action=switch-off&flag=checkout": {
        "Switch off in production": "Propose to switch off in production"
    },
    "/flag-actions?action=delete&flag=checkout": {
        "Delete in production": "Propose to delete in production"
    },
    "/new-flag": {"Create flag": "Propose to create the flag"},
    "/settings/limit": {
        "Save": "Propose the change",
        "Rename": "Propose to rename",
        "Delete": "Propose to delete",
    },
    "/settings-new": {"Create": "Propose to create it"},
    "/segments/beta": {"Save": "Propose the change", "Delete": "Propose to delete"},
    "/segments-new": {"Create": "Propose to create it"},
    "/environment": {"Save": "Propose the change"},
    "/revert/2": {"Revert": "Propose to revert"},
    "/restore/1": {"Restore": "Propose to restore"},
}
_LINKS = {
    "/changes/1": {
        "Revert…": "Propose to revert…",
        "Restore to before this…": "Propose to restore to before this…",
    },
    "/flags/planned?view=plan": {"Pause…": "Propose to pause…"},
}


@pytest.fixture
async def filled(service: Service) -> None:
    await write(
        service,
        *(put("checkout", flag(), kind="flag"), put("planned", planned(-1, 1), kind="flag")),
        *(put("beta", {"and": [True]}, kind="segment"), put("limit", 1)),
        environment="production",
    )
    await write(service, put("limit", 2, 1), environment="production")
    await write(service, put("only-staging", flag(), kind="flag"))


async def visit(caller: Person, path: str) -> Element | None:
    """Return a page, None if it is refused."""
    headers = {"X-API-Key": caller.token}
    async with caller.service.stranger.get(PRODUCTION + path, headers=headers) as answer:
        assert answer.status in {200, 403}, await answer.text()
        return parse_html(await answer.text()) if answer.status == 200 else None


def texts(page: Element | None, tag: str) -> set[str]:
    return {item.text for item in page.all(tag)} if page is not None else set()


def hints(page: Element | None) -> list[str]:
    """Return what the page says of the proposal that a save makes."""
    return [text for text in texts(page, "p") if text.startswith("This creates")]


def asks_for_the_name(page: Element | None) -> bool:
    return page is not None and bool(page.all("input", name="confirmation"))


@pytest.mark.slow
@pytest.mark.usefixtures("filled")
@pytest.mark.parametrize(("path", "labels"), [*PAGES.items(), *_LINKS.items()])
async def test_button_follows_the_right_to_save(
    service: Service, path: str, labels: dict[str, str]
) -> None:
    tag = "button" if path in PAGES else "a"
    writes, proposals = set(labels), set(labels.values())

    writer, proposer, reader = [
        await visit(await person(service, Scope.READ, *scopes), path)
        for scopes in ((Scope.WRITE,), (Scope.PROPOSE,), ())
    ]

    assert writes <= texts(writer, tag)
    assert not proposals & texts(writer, tag)
    assert proposals <= texts(proposer, tag)
    assert not writes & texts(proposer, tag)
    assert not (writes | proposals) & texts(reader, tag)
    assert not asks_for_the_name(proposer)
    assert not hints(writer)
    assert hints(proposer) or path in _LINKS


@pytest.mark.usefixtures("filled")
@pytest.mark.parametrize("path", PAGES)
async def test_page_says_that_a_publisher_proposes_too(service: Service, path: str) -> None:
    await protect(service, "production", approvals=1)
    publisher = await person(service, Scope.READ, Scope.WRITE, Scope.PUBLISH)

    page = await visit(publisher, path)

    assert hints(page)
    assert page is not None
    assert re.findall(r"\bwrites?\b", page.one("main").text) == []


@pytest.mark.usefixtures("filled")
async def test_emergency_says_that_it_writes(service: Service) -> None:
    await protect(service, "production", approvals=1)
    publisher = await person(service, Scope.READ, Scope.WRITE, Scope.PUBLISH)

    page = await visit(publisher, "/flag-switch/checkout")

    assert page is not None
    (button,) = [item for item in page.all("button") if "witch off" in item.text]
    both = [(item["class"], item.text) for item in button.all("span")]
    assert both == [("no-emergency", "Propose to switch off"), ("emergency", "Switch off")]
    assert "required" not in page.one("input", name="confirmation").attributes


@pytest.mark.usefixtures("filled")
async def test_only_a_write_needs_the_typed_name(service: Service) -> None:
    await protect(service, "production", approvals=1)
    publisher = await person(service, Scope.READ, Scope.WRITE, Scope.PUBLISH)
    path = f"{PRODUCTION}/flag-switch/checkout"
    urgent = {"version": 1, "message": "Down", "emergency": "true"}

    proposed = await post(publisher, path, version=1)
    unnamed = await post(publisher, path, **urgent)
    before = await publisher.value("checkout", "production")
    named = await post(publisher, path, **urgent, confirmation="production")

    assert (proposed.status, "/proposals/" in proposed.headers["Location"]) == (303, True)
    assert (unnamed.status, "Type production, exactly" in unnamed.body) == (422, True)
    assert before == flag()
    assert (named.status, "saved=" in named.headers["Location"]) == (303, True)


async def test_import_in_a_protected_environment_is_proposed(service: Service) -> None:
    await protect(service, "production", approvals=1)
    writer = await person(service, Scope.READ, Scope.WRITE)
    text = '{"entries": {"limit": {"value": 1}}}'

    checked = await post(writer, f"{PRODUCTION}/transfer", text=text, action="check")
    mark = parse_html(checked.body).one("input", name="checked")["value"]
    applied = await post(writer, f"{PRODUCTION}/transfer", text=text, action="apply", checked=mark)

    assert "Propose the import: 1 key" in checked.body
    assert (applied.status, "/proposals/" in applied.headers["Location"]) == (303, True)
    assert await writer.value("limit", "production") is None


@pytest.mark.usefixtures("filled")
async def test_review_of_a_selection_says_that_it_proposes(service: Service) -> None:
    proposer = await person(service, Scope.READ, Scope.PROPOSE)

    page = await visit(proposer, "/flag-actions?action=switch-off&flag=checkout")

    assert page is not None
    assert page.one("h1").text == "Propose to switch off checkout in production"
