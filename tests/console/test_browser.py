"""The faults that fail a test of a page."""

from collections.abc import Awaitable, Callable
from functools import partial

import pytest

from tests.console.browser import Visit


async def _refusal(check: Callable[[], Awaitable[None]]) -> str:
    with pytest.raises(AssertionError) as raised:
        await check()
    return str(raised.value)


async def test_visit_of_a_good_page_has_no_fault(stranger: Visit) -> None:
    await stranger.show("<a href='/'>Home</a>")

    await stranger.assert_accessible()
    await stranger.assert_laid_out()
    assert stranger.faults == []


async def test_visit_records_each_kind_of_fault(stranger: Visit) -> None:
    stranger.expect_fault("")
    await stranger.show("<script>alert(1)</script><img alt='' src='http://127.0.0.2:1/x.png'>")
    async with stranger.page.expect_event("pageerror"):
        await stranger.page.evaluate("() => { setTimeout(() => { throw new Error('late') }) }")

    faults = "\n".join(stranger.faults)
    assert "CSP: script-src-elem" in faults
    assert "request to another origin: http://127.0.0.2:1/x.png" in faults
    assert "exception: " in faults
    assert "late" in faults


async def test_visit_refuses_an_inaccessible_page(stranger: Visit) -> None:
    stranger.expect_fault("")
    await stranger.show("<img src='/x.png'><button></button>")

    assert "button-name" in await _refusal(stranger.assert_accessible)


async def test_visit_refuses_a_page_of_low_contrast(stranger: Visit) -> None:
    await stranger.show("<p><font color='#aaaaaa'>Pale</font></p>")

    refusal = await _refusal(partial(stranger.assert_accessible, only_colours=True))
    assert "color-contrast" in refusal


async def test_visit_refuses_a_page_that_is_too_wide(stranger: Visit) -> None:
    await stranger.show("<svg width='2000' height='20'></svg>")
    assert "the page is 20" in await _refusal(stranger.assert_laid_out)
