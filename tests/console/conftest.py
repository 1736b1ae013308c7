"""The console in a real browser: one service and one browser for each test process."""

import re
from collections.abc import AsyncIterator, Generator

import pytest
from playwright.async_api import Browser, Page

from tests.conftest import Service
from tests.console.browser import Visit, launched, visiting

_FAILED = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed:
        item.stash[_FAILED] = True
    return report


@pytest.fixture(scope="session")
async def browser() -> AsyncIterator[Browser]:
    async with launched() as started:
        yield started


@pytest.fixture
async def stranger(
    browser: Browser, running: Service, request: pytest.FixtureRequest
) -> AsyncIterator[Visit]:
    """Yield the visit of a person who is not signed in. The test fails on any fault of a page."""
    async with visiting(browser, running.url) as visit:
        yield visit
        if visit.unexpected or request.node.stash.get(_FAILED, False):
            await visit.save(re.sub(r"[^\w-]+", "-", request.node.name))
        assert not visit.unexpected, "\n".join(visit.unexpected)


@pytest.fixture
async def visit(stranger: Visit, running: Service) -> Visit:
    """Return the visit of an administrator who is signed in."""
    await sign_in(stranger, running.admin_token)
    return stranger


@pytest.fixture
def page(visit: Visit) -> Page:
    """Return the page of an administrator who is signed in."""
    return visit.page


async def sign_in(visit: Visit, token: str) -> None:
    """Sign in as a person does, with a token in the form."""
    await visit.open("/console/sign-in")
    await visit.page.get_by_label("Token").fill(token)
    await visit.page.get_by_role("button", name="Sign in").click()
    await visit.page.wait_for_url(lambda url: "sign-in" not in url)
