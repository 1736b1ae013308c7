"""Pages of a person whose rights are limited to key prefixes: own keys, and nothing of others."""

import re
from collections.abc import AsyncIterator, Iterator
from difflib import unified_diff

import pytest
from aiohttp import ClientSession

from app.access.models import Scope
from app.configuration.snapshots.reading import FOLLOWER
from tests.api.access.limited import (
    CONSOLE,
    LOCAL,
    SHOWN,
    Answer,
    Limited,
    answer_of,
    change,
    change_theirs,
    fill,
    put,
)
from tests.api.console.page_forms import form_fields
from tests.conftest import Service
from tests.console.page_list import Entries, page_paths
from tests.factories import flag
from tests.html import parse_html

OWN = Entries(
    environment="local",
    flag="shop/checkout",
    planned="shop/checkout",
    setting="shop/limit",
    segment="shop/staff",
    revision="1",
)
FLAG = f"{CONSOLE}/flags/shop/checkout"
PARTS = (
    f"{CONSOLE}/palette?q=tres",
    f"{CONSOLE}/palette?q=",
    f"{CONSOLE}/flags?q=tre&HX=1",
    f"{CONSOLE}/flags?prefix=",
    f"{CONSOLE}/new-flag-key?key=common/switch",
    f"{CONSOLE}/export?format=flagd",
    f"{CONSOLE}/export?format=yaml",
    f"{FLAG}?view=usage",
    f"{FLAG}?view=dependencies",
    f"{FLAG}?view=use",
    f"{CONSOLE}/flag-dependencies/shop/checkout",
    f"{CONSOLE}/flag-usage/shop/checkout?range=week",
    f"{CONSOLE}/segments/shop/staff?revision=1",
    f"{CONSOLE}/settings?q=tre",
    f"{CONSOLE}/settings?prefix=z",
)


@pytest.fixture
async def limited(service: Service) -> Limited:
    await fill(service)
    return await Limited.of(service, Scope.READ, Scope.WRITE)


@pytest.fixture
async def browser(limited: Limited) -> AsyncIterator[ClientSession]:
    async with limited.service.signed_in(limited.token) as signed_in:
        yield signed_in


async def opened(browser: ClientSession, path: str) -> Answer:
    async with browser.get(path, allow_redirects=False) as answer:
        return await answer_of(answer)


async def every_page(browser: ClientSession) -> dict[str, Answer]:
    pages = {path: await opened(browser, path) for path in (*page_paths(OWN), *PARTS)}
    assert {path: page.text for path, page in pages.items() if page.status >= 500} == {}
    return pages


async def test_page_contains_nothing_of_others(browser: ClientSession) -> None:
    pages = await every_page(browser)

    assert [path for path, page in pages.items() if not page.is_free_of_foreign] == []
    open_pages = {path for path, page in pages.items() if page.status == 200}
    assert {FLAG, f"{CONSOLE}/flags", f"{CONSOLE}/segments/shop/staff", *PARTS} <= open_pages


@pytest.mark.slow
async def test_page_does_not_depend_on_entries_of_others(
    limited: Limited, browser: ClientSession
) -> None:
    # So that the revision is no number that a page shows for another reason.
    for version in range(2, 80):
        await change(limited.service, put("shop/limit", "setting", 5, version))
    await change(limited.service, put("z-tresor/last", "setting", 1))
    follower = limited.service.app[FOLLOWER]
    before, revision = await every_page(browser), follower.get("local").revision

    await change_theirs(limited.service)

    after, later = await every_page(browser), follower.get("local").revision
    assert later > revision
    differing = {
        path: list(_differing(_at_any(before[path], revision), _at_any(after[path], later)))
        for path in before
    }
    assert {path: lines for path, lines in differing.items() if lines} == {}


def _at_any(page: Answer, revision: int) -> list[str]:
    """Return the lines of a page without the revision, which readers know, and without times."""
    text = re.sub(r"\d{4}-\d{2}-\d{2}T[\d:%A.]+", "TIME", page.text)
    text = re.sub(r"(?<![0-9a-f])[0-9a-f]{28}(?![0-9a-f])", "ID", text)
    # A random ID may contain the same digits.
    return re.sub(rf"(?<![0-9A-Za-z]){revision}(?![0-9A-Za-z])", "N", text).splitlines()


def _differing(before: list[str], after: list[str]) -> Iterator[str]:
    lines = unified_diff(before, after, lineterm="", n=0)
    return (line for line in lines if not line.startswith(("---", "+++", "@@")))


async def test_list_counts_own_flags(browser: ClientSession) -> None:
    page = parse_html((await opened(browser, f"{CONSOLE}/flags")).text)

    names = [name.all("a")[0].text for name in page.all("th", class_="flag-name")]
    assert names == ["shop/banner", "shop/checkout"]


@pytest.mark.parametrize("key", ["common/switch", "common/new"])
async def test_new_flag_outside_of_own_keys_is_not_called_free(
    browser: ClientSession, key: str
) -> None:
    checked = parse_html((await opened(browser, f"{CONSOLE}/new-flag-key?key={key}")).text)

    text = checked.one("p", id="key-check").text
    assert "Your rights in local cover keys with the prefix shop/." in text


async def test_page_of_a_foreign_key_is_refused(browser: ClientSession) -> None:
    paths = [
        f"{CONSOLE}/{group}/{key}"
        for group in ("flags", "settings", "segments", "flag-usage", "flag-dependencies")
        for key in (*SHOWN, "a-tresor/flag", "a-nothing")
    ]

    assert {(await opened(browser, path)).status for path in paths} == {403}


async def test_dependencies_name_a_foreign_segment_without_a_link(browser: ClientSession) -> None:
    page = await opened(browser, f"{CONSOLE}/flag-dependencies/shop/checkout")

    assert "common/vip" in page.text
    assert "common/switch" in page.text
    assert "/segments/common/vip" not in page.text
    assert "/flags/common/switch" not in page.text
    assert "missing" not in page.text


async def test_preview_of_a_flag_hides_what_others_have_written(browser: ClientSession) -> None:
    fields = form_fields((await opened(browser, FLAG)).text, "flag-form")
    context = [
        ("context-shown", "1"),
        ("context-0-view", "form"),
        ("context-0-name", "email"),
        ("context-0-value", "a@example.org"),
    ]

    async with browser.post(f"{CONSOLE}/flag-preview/shop/checkout", data=[*fields, *context]) as a:
        preview = await answer_of(a)

    assert preview.status == 200
    assert preview.is_free_of_foreign
    assert "unless common/switch gives on" in preview.text


async def test_preview_of_a_segment_names_own_flags(browser: ClientSession) -> None:
    fields = form_fields(
        (await opened(browser, f"{CONSOLE}/segments/shop/staff")).text, "segment-form"
    )

    path = f"{CONSOLE}/segments-preview/shop/staff"
    async with browser.post(path, data=[*fields, ("context.email", "a@example.org")]) as answer:
        preview = await answer_of(answer)

    assert preview.status == 200
    assert preview.is_free_of_foreign
    assert "sampled keys are in" in preview.text


async def test_action_on_flags_of_others_is_refused(browser: ClientSession) -> None:
    form = {"action": "delete", "flag": "a-tresor/flag"}

    async with browser.post(f"{CONSOLE}/flag-actions", data=form) as answer:
        assert answer.status == 403


async def test_unlimited_reader_sees_both_teams(limited: Limited) -> None:
    await change(limited.service, put("a-tresor/more", "flag", flag(defaultVariant="on")))
    async with limited.service.client.get(f"{LOCAL}/configurations") as answer:
        keys = [item["key"] for item in (await answer.json())["items"]]

    assert "a-tresor/more" in keys
    assert "shop/banner" in keys
