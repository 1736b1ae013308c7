"""Take the pictures that README and docs show: `make screenshots`.

The views of each page, as large as they are, are in `.browser/pages/`.
"""

import re
from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Browser

from app.access.models import Scope
from tests.api.configuration.proposal_calls import Person, protect, put
from tests.conftest import Service
from tests.console import gallery, people_sample
from tests.console.browser import ARTIFACTS, Visit, visiting
from tests.console.conftest import sign_in
from tests.console.page_list import PUBLIC, page_paths
from tests.console.sample import ENVIRONMENT, FLAG
from tests.paths import ROOT

_IMAGES = ROOT / "docs" / "images"
# The pages that show people.
_OF_PEOPLE = tuple(
    f"/console/{name}"
    for name in ("people", "groups", "grants", "access-check", "roles", "projects", "me")
)
_ENVIRONMENT = f"/console/environments/{ENVIRONMENT}"
# Further pictures of the documentation, each with its page and its width.
_SHOWN = {
    "console-flags": (f"{_ENVIRONMENT}/flags", 1280),
    "console-flags-narrow": (f"{_ENVIRONMENT}/flags", 390),
    "console-flag": (f"{_ENVIRONMENT}/flags/{FLAG}", 1280),
    "console-flag-narrow": (f"{_ENVIRONMENT}/flags/{FLAG}", 390),
    "console-usage": (f"{_ENVIRONMENT}/flags/{FLAG}?view=usage", 1280),
    "console-changes": (f"{_ENVIRONMENT}/changes", 1280),
    "console-compare": (f"{_ENVIRONMENT}/compare?against=staging", 1280),
    "console-health": ("/console/health", 1280),
}
# A preview begins its request only after it has its contexts.
_IS_COMPLETE = """() =>
  !document.querySelector(".htmx-request, #preview-results:empty, #membership:empty")"""
# The states of pages that docs/ does not show.
_OTHERS = [path for path in page_paths() if path not in gallery.PAGES.values()]


@pytest.fixture(scope="module")
async def tour(browser: Browser, filled: Service) -> AsyncIterator[Visit]:
    """Yield one visit of an administrator for all pictures, so that it is one session."""
    async with visiting(browser, filled.url) as visit:
        await sign_in(visit, filled.admin_token)
        yield visit


@pytest.fixture(scope="module")
async def passer_by(browser: Browser, filled: Service) -> AsyncIterator[Visit]:
    """Yield the visit of a person who is not signed in."""
    async with visiting(browser, filled.url) as visit:
        yield visit


@pytest.mark.parametrize("name", _SHOWN)
async def test_picture_of_the_documentation(tour: Visit, name: str) -> None:
    path, width = _SHOWN[name]
    await tour.look(width=width, scheme="light")
    await _open(tour, path)
    await tour.page.screenshot(path=_IMAGES / f"{name}.png")


@pytest.mark.parametrize("name", gallery.PAGES)
async def test_picture_of_each_page(
    tour: Visit, passer_by: Visit, name: str, request: pytest.FixtureRequest
) -> None:
    path = gallery.PAGES[name]
    if path.startswith("/console/proposals"):
        await _propose(request.getfixturevalue("filled"))
    if path.startswith(_OF_PEOPLE):
        await _add_people(request.getfixturevalue("filled"))
    visit = passer_by if path in PUBLIC else tour
    views = await _views(visit, path, name)
    async with await visit.context.new_page() as sheet:
        picture = await gallery.compose(sheet, views)
    gallery.PICTURES.mkdir(exist_ok=True)
    (gallery.PICTURES / f"{name}.webp").write_bytes(picture)


@pytest.mark.parametrize("path", _OTHERS)
async def test_picture_of_each_other_state(tour: Visit, path: str) -> None:
    await _views(tour, path, re.sub(r"[^\w-]+", "-", path.removeprefix("/console/")))


async def _views(visit: Visit, path: str, name: str) -> list[gallery.View]:
    """Return the page in each width and theme. Save each view."""
    views: list[gallery.View] = []
    for width, scheme in gallery.VIEWS:
        await visit.look(width=width, scheme=scheme)
        # The page scrolls its strips of links when it is opened in a new width.
        if not views or views[-1].width != width:
            await _open(visit, path)
        file = ARTIFACTS / "pages" / f"{name}-{width}-{scheme}.png"
        image = await visit.page.screenshot(path=file, full_page=True)
        views.append(gallery.View(width, image))
    return views


async def _add_people(service: Service) -> None:
    """Add the sample of people, unless it is there."""
    if not (await (await service.client.get("/v1/people")).json())["items"]:
        await people_sample.fill(service)


async def _propose(service: Service) -> None:
    """Protect staging, and propose a change there, unless there is a proposal."""
    if (await (await service.client.get("/v1/proposals")).json())["items"]:
        return
    await protect(service, approvals=1)
    author = Person(service, await service.token(Scope.READ, Scope.WRITE))
    entry = await author.get(f"/v1/environments/staging/configurations/{FLAG}")
    value = entry["value"] | {"defaultVariant": "on"}
    del value["targeting"]
    title = "Open the new checkout to all"
    operation = put(FLAG, value, version=entry["version"], kind="flag")
    proposal = await author.propose(operation, title=title, message="The pilot is over")
    await author.act(proposal, "comment", text="Support has the new texts.")


async def _open(visit: Visit, path: str) -> None:
    if path == gallery.FIRST_TOKEN:
        await visit.open_page("/console/tokens")
        await visit.page.get_by_role("link", name="release pipeline").first.click()
        await visit.page.wait_for_url("**/tokens/*")
    elif path == gallery.FIRST_PROPOSAL:
        await visit.open_page("/console/proposals")
        await visit.page.locator("tbody a").first.click()
        await visit.page.wait_for_url(re.compile(r"/proposals/\d+$"))
    elif path == gallery.FIRST_PERSON:
        await visit.open_page("/console/people")
        await visit.page.get_by_role("link", name="Amina Otieno").click()
        await visit.page.wait_for_url(re.compile(r"/people/\w{13}$"))
    elif path == gallery.FIRST_GRANT:
        await visit.open_page("/console/grants")
        await visit.page.get_by_role("link", name=re.compile("^Revoke")).first.click()
        await visit.page.wait_for_url(re.compile(r"/grants/\w{13}$"))
    else:
        await visit.open_page(path)
    await visit.page.wait_for_function(_IS_COMPLETE)
