"""The bars that every page meets: accessible, laid out for each width, and light."""

import pytest

from tests.conftest import Service
from tests.console import people_sample
from tests.console.browser import WIDTHS, Visit
from tests.console.page_list import NOT_PAGES, PUBLIC, page_paths

# A first visit, and a later one with the files in the browser's cache.
FIRST_BYTES_MAX = 120_000
LATER_BYTES_MAX = 25_000
REQUESTS_MAX = 15
# A window of 1280 px at a zoom of 200 % has this many CSS pixels.
ZOOMED = 640


@pytest.fixture(scope="module")
async def _people(filled: Service) -> None:
    """Add people and their rights to the sample."""
    await people_sample.fill(filled)


@pytest.mark.usefixtures("_people")
@pytest.mark.parametrize("path", page_paths())
async def test_page_is_light_accessible_and_laid_out(visit: Visit, path: str) -> None:
    await visit.forget_files()
    await _open(visit, path)
    first = await visit.weigh()
    assert len(first) <= REQUESTS_MAX, first
    assert sum(first.values()) <= FIRST_BYTES_MAX, first

    await visit.assert_accessible()
    # light-dark() of CSS changes colours alone.
    await visit.look(scheme="dark")
    await visit.assert_accessible(only_colours=True)
    for width in (*WIDTHS, ZOOMED):
        await visit.look(width=width)
        await visit.assert_laid_out()

    visit.requests.clear()
    await _open(visit, path)
    later = await visit.weigh()
    assert sum(later.values()) <= LATER_BYTES_MAX, later


async def test_page_list_names_only_routes_of_the_console() -> None:
    paths = page_paths()

    assert NOT_PAGES.isdisjoint(paths)
    assert set(PUBLIC) <= set(paths)


async def _open(visit: Visit, path: str) -> None:
    if path in PUBLIC:
        await visit.context.clear_cookies()
    await visit.open_page(path)
