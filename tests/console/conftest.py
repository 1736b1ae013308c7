"""The console in a real browser: one service and one browser for each test process."""

import asyncio
import re
from collections.abc import AsyncIterator, Generator
from pathlib import Path

import pytest
from playwright.async_api import Browser, Page, expect

from app.access.rate_limit import RATE_LIMIT
from app.configuration.snapshots.reading import FOLLOWER
from app.flags.handlers import USAGE
from tests.conftest import Admin, Service, clean
from tests.console import sample
from tests.console.browser import Visit, launched, visiting
from tests.waiting import HANG_SECONDS

expect.set_options(timeout=HANG_SECONDS * 1000 / 4)
_FAILED = pytest.StashKey[bool]()


# Before pytest leaves tests out by their marks.
@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test of this folder as slow: a browser is."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.slow)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed:
        item.stash[_FAILED] = True
    return report


@pytest.fixture(scope="module")
async def filled(running: Service, cleaner: Admin) -> Service:
    """Return the service with the sample. Tests of the module share it, and only read it."""
    await asyncio.to_thread(clean, cleaner)
    await running.app[FOLLOWER].refresh()
    running.app[RATE_LIMIT].forget()
    await sample.fill(running)
    await sample.backdate(running, cleaner)
    await running.app[FOLLOWER].refresh()
    await running.app[USAGE].run_once()
    return running


@pytest.fixture(scope="session")
async def browser() -> AsyncIterator[Browser]:
    async with launched() as started:
        yield started


@pytest.fixture(scope="session")
async def _tab(browser: Browser, running: Service) -> AsyncIterator[Visit]:
    async with visiting(browser, running.url) as visit:
        await visit.forget()
        yield visit


@pytest.fixture
async def stranger(_tab: Visit, request: pytest.FixtureRequest) -> AsyncIterator[Visit]:
    """Yield the visit of a person who is not signed in. The test fails on any fault of a page.

    All tests of a process share one page, which forgets all after each test: a new page costs
    more than most tests, and an open page sends requests during the tests that follow.
    """
    yield _tab
    try:
        await _assert_no_fault(_tab, request)
    finally:
        await _tab.forget()


@pytest.fixture
async def visit(stranger: Visit, running: Service) -> Visit:
    """Return the visit of an administrator who is signed in."""
    await sign_in(stranger, running.admin_token)
    return stranger


async def _assert_no_fault(visit: Visit, request: pytest.FixtureRequest) -> None:
    if visit.unexpected or request.node.stash.get(_FAILED, False):
        await visit.save(re.sub(r"[^\w-]+", "-", request.node.name))
    assert not visit.unexpected, "\n".join(visit.unexpected)


@pytest.fixture
def page(visit: Visit) -> Page:
    """Return the page of an administrator who is signed in."""
    return visit.page


async def sign_in(visit: Visit, token: str) -> None:
    """Sign in as the form does. Its own test uses the form."""
    answer = await visit.context.request.post(
        f"{visit.url}/console/sign-in",
        form={"token": token, "next": ""},
        headers={"Origin": visit.url},
        max_redirects=0,
    )
    assert answer.status == 303, await answer.text()
