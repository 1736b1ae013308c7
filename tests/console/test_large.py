"""Large data: the pages stay usable, and are still laid out for each width."""

from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import pytest
from playwright.async_api import expect

from app.access.rate_limit import RATE_LIMIT
from app.configuration.changes.authority import OPERATOR_AUTHORITY
from app.configuration.changes.models import Content, Kind, Operation
from app.configuration.changes.service import apply
from app.configuration.snapshots.reading import FOLLOWER
from app.http.keys import DATABASE
from tests.conftest import Admin, Service, clean
from tests.console.browser import Visit
from tests.factories import flag

ENVIRONMENT = "/console/environments/local"
FLAGS = 5_000
VARIANTS = 200
GROUPS = 50
TEXT_BYTES = 300_000


def _operation(key: str, value: Any, kind: Kind = Kind.FLAG) -> Operation:
    return Operation(key=key, content=Content(kind=kind, value=value), expected=None)


def _nested(groups: int) -> Any:
    condition: Any = {"==": [{"var": "plan"}, "pro"]}
    for number in range(groups):
        condition = {"or" if number % 2 else "and": [condition, {"==": [{"var": "n"}, number]}]}
    return {"if": [condition, "on", "off"]}


def _operations() -> list[Operation]:
    many = {f"variant-{number}": f"value {number}" for number in range(VARIANTS)}
    split = {"fractional": [[name, 1] for name in many]}
    text = "word " * (TEXT_BYTES // 5)
    return [
        *(_operation(f"group-{n % 7}/flag-{n}", flag(defaultVariant="off")) for n in range(FLAGS)),
        _operation("large/variants", flag(variants=many, targeting=split)),
        _operation("large/nested", flag(targeting=_nested(GROUPS))),
        _operation("large/text", flag(variants={"long": text, "short": ""})),
        _operation("large/setting", {"text": text, "list": list(range(5_000))}, Kind.SETTING),
        _operation("large/word", "x" * TEXT_BYTES, Kind.SETTING),
    ]


@pytest.fixture(scope="module")
async def large(running: Service, cleaner: Admin) -> AsyncIterator[Service]:
    """Yield the service with 5,000 flags, and with entries that are large."""
    clean(cleaner)
    running.app[RATE_LIMIT].forget()
    write = partial(_write, _operations())
    await running.app[DATABASE].transact(write)
    await running.app[FOLLOWER].refresh()
    with pytest.MonkeyPatch.context() as patch:
        # As in production: a preview of a large rule ends before the page stops waiting for it.
        for module in ("flags.preview", "console.changes.effect"):
            patch.setattr(f"app.{module}.SECONDS_MAX", 2.0)
        yield running


async def _write(operations: list[Operation], connection: Any) -> None:
    await apply(
        connection,
        "local",
        operations,
        actor="system:test",
        message="Many",
        authority=OPERATOR_AUTHORITY,
    )


@pytest.mark.parametrize(
    "path",
    [
        "/flags",
        "/flags/large/variants",
        "/flags/large/nested",
        "/flags/large/text",
        "/settings",
        "/settings/large/setting",
        "/settings/large/word",
        "/changes",
    ],
)
async def test_page_of_large_data_is_laid_out(large: Service, visit: Visit, path: str) -> None:
    del large
    await visit.open_page(ENVIRONMENT + path)
    # The preview comes after the page.
    await visit.page.wait_for_function("() => !document.querySelector('.htmx-request')")
    for width in (390, 1280):
        await visit.look(width=width)
        await visit.assert_laid_out()


async def test_list_of_many_flags_loads_more_when_scrolled(large: Service, visit: Visit) -> None:
    del large
    await visit.open_page(f"{ENVIRONMENT}/flags")
    rows = visit.page.locator("tbody tr")
    before = await rows.count()
    assert before <= 110

    await rows.last.scroll_into_view_if_needed()
    await expect(rows.nth(before + 50)).to_be_attached()


async def test_search_and_palette_find_one_of_many_flags(large: Service, visit: Visit) -> None:
    del large
    page = visit.page
    await visit.open_page(f"{ENVIRONMENT}/flags")
    await page.get_by_role("searchbox").fill("flag-4321")
    await expect(page.locator("tbody tr", has_text="group-2/flag-4321")).to_be_visible()

    await page.keyboard.press("Control+k")
    await page.keyboard.type("grp2flg4321")
    await page.get_by_role("option", name="group-2/flag-4321").click()
    await page.wait_for_url("**/flags/group-2/flag-4321")


async def test_flag_with_many_variants_can_be_saved(large: Service, visit: Visit) -> None:
    del large
    page = visit.page
    await visit.open_page(f"{ENVIRONMENT}/flags/large/variants")
    await page.get_by_label("Description").fill("Described")
    await page.get_by_label("Message").fill("Describe it")
    await page.get_by_role("button", name="Save to local").click()

    await page.wait_for_url("**saved=*")
    await expect(page.get_by_label("Description")).to_have_value("Described")
