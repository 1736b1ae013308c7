"""Pages lead a person only to what they may open: menus, tabs, the palette and all other links."""

from collections import deque
from urllib.parse import urlsplit

import pytest
from aiohttp import ClientSession

from tests.api.access.limited import answer_of, fill
from tests.api.console.test_people_pages import browser_of, read
from tests.conftest import Service
from tests.html import parse_html
from tests.people import give, sign_in_person

PAGES_MAX = 200
START = ("/console/me", "/console/environments/local/palette?q=", "/console/environments")


async def open_links(browser: ClientSession) -> tuple[int, list[str]]:
    """Open every link. Return the number of pages, and the links that are refused or that leak."""
    waiting = deque((path, "the start") for path in START)
    seen: set[str] = set()
    bad: list[str] = []
    while waiting and len(seen) < PAGES_MAX:
        path, source = waiting.popleft()
        # Entries of now may not have existed at another time.
        if path in seen or not urlsplit(path).path.startswith("/console") or "at=" in path:
            continue
        seen.add(path)
        async with browser.get(path, allow_redirects=False) as response:
            answer = await answer_of(response)
        # A plan with foreign keys says so, and offers the own ones.
        is_plan = answer.status == 403 and "only your keys…" in answer.text
        if not (answer.status in {200, 303} or is_plan) or not answer.is_free_of_foreign:
            bad.append(f"{answer.status} {path} from {source}")
        if answer.status == 200 and response.content_type == "text/html":
            elements = list(parse_html(answer.text).descendants)
            addresses = (item.attributes.get(name) for item in elements for name in _LINKS)
            waiting += [(address, path) for address in addresses if address]
    return len(seen), bad


_LINKS = ("href", "hx-get")


@pytest.mark.slow
@pytest.mark.parametrize("role", ["viewer", "editor", "reviewer", "admin"])
async def test_limited_person_may_open_every_link(service: Service, role: str) -> None:
    await fill(service)
    asha = await sign_in_person(service, "asha")
    await give(service, asha.person, role, environments=("local",), prefix="shop/")

    async with browser_of(service, asha.text) as browser:
        count, bad = await open_links(browser)

    assert bad == []
    assert count > 40


async def test_person_without_rights_sees_no_menu(service: Service) -> None:
    asha = await sign_in_person(service, "asha")

    async with browser_of(service, asha.text) as browser:
        page = parse_html(await read(browser, "me"))
        refused = await read(browser, "proposals", 403)

    assert page.one("nav").all("a") == []
    links = [item["href"] for item in page.one("header").all("a")]
    assert links == ["/console", "/console/me"]
    assert "You have no rights yet" in refused
