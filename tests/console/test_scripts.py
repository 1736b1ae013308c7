"""The scripts of the console, on pages that have only what a script reads."""

import pytest
from playwright.async_api import Page, Route

from app.console.first_request import CONSOLE
from app.console.static_files import STATIC
from tests.conftest import Service
from tests.console.browser import Visit

_DRAFT = """
<div id="draft" hidden>Back <button data-discard>Discard</button></div>
<form data-draft="one" action="page"><input name="text" value="old" aria-label="Text">
<input name="secret" type="password" aria-label="Secret">
<label><input type="checkbox" name="more" value="1"> More</label><button>Save</button></form>
"""


_FILES = ("vendor/htmx.min.js", "vendor/idiomorph-ext.min.js")
_CONFIG = """<meta name="htmx-config" content='{"includeIndicatorStyles": false}'>"""


async def _show(visit: Visit, service: Service, content: str) -> Page:
    static = (await service.app[CONSOLE].pages())[STATIC]
    libraries = "".join(f'<script src="{static.url(name)}" defer></script>' for name in _FILES)
    await visit.show(
        f'<p id="status" role="status"></p>{content}{_CONFIG}{libraries}'
        f'<script src="{static.url("console.js")}" type="module"></script>'
    )
    return visit.page


async def test_times_are_relative_and_exact_on_hover(stranger: Visit, running: Service) -> None:
    page = await _show(
        stranger,
        running,
        '<time id="a"></time><time id="b" datetime="2020-03-04T05:06:07Z"></time>',
    )
    await page.evaluate(
        "() => { const past = new Date(Date.now() - 3 * 3600e3 - 60e3);"
        "document.getElementById('a').dateTime = past.toISOString();"
        "document.dispatchEvent(new Event('times:show')); }"
    )

    assert await page.locator("#a").inner_text() == "3 hours ago"
    assert await page.locator("#b").inner_text() == "4 Mar 2020"
    assert "4 March 2020" in (await page.locator("#b").get_attribute("title") or "")


async def test_copy_puts_text_on_the_clipboard(stranger: Visit, running: Service) -> None:
    await stranger.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page = await _show(
        stranger,
        running,
        '<pre id="x">curl -X "POST"</pre><button data-copy-from="#x">Copy</button>',
    )
    await page.get_by_role("button").click()

    await page.locator("#status", has_text="Copied.").wait_for()
    assert await page.evaluate("() => navigator.clipboard.readText()") == 'curl -X "POST"'


@pytest.mark.parametrize(
    ("is_copied", "status"),
    [(True, "Copied."), (False, "The browser did not copy the text.")],
)
async def test_copy_without_a_clipboard_says_what_happened(
    stranger: Visit, running: Service, *, is_copied: bool, status: str
) -> None:
    page = await _show(stranger, running, '<button data-copy="text">Copy</button>')
    await page.evaluate(
        "copied => { navigator.clipboard.writeText = () => Promise.reject(new Error());"
        "document.execCommand = () => copied; }",
        is_copied,
    )
    await page.get_by_role("button").click()

    await page.locator("#status", has_text=status).wait_for()


async def test_page_of_an_outage_reloads_once_it_answers(stranger: Visit, running: Service) -> None:
    stranger.expect_fault("Failed to load resource")
    statuses = [503, 503, 200, 200]

    async def answer(route: Route) -> None:
        await route.fulfill(status=statuses.pop(0), body="Here")

    page = await _show(stranger, running, "<p data-retry>Try again</p>")
    await page.route(lambda url: url.endswith("/page"), answer)
    # Only the first attempt waits as long as for a person.
    await page.evaluate("() => { const wait = setTimeout; setTimeout = f => wait(f, 0); }")
    await page.locator("[data-retry]").wait_for(state="detached")

    methods = [request.method for request in stranger.requests if request.url.endswith("/page")]
    assert methods == ["GET", "HEAD", "HEAD", "HEAD", "GET"]


async def test_draft_survives_a_reload_without_secrets(stranger: Visit, running: Service) -> None:
    page = await _show(stranger, running, _DRAFT)
    await page.get_by_label("Text").fill("new")
    await page.get_by_label("Secret").fill("hidden")
    await page.get_by_label("More").check()
    await page.reload()

    await page.locator("#draft").wait_for(state="visible")
    assert await page.get_by_label("Text").input_value() == "new"
    assert await page.get_by_label("Secret").input_value() == ""
    assert await page.get_by_label("More").is_checked()
    assert stranger.dialogs == ["beforeunload"]


async def test_draft_is_forgotten_once_it_is_saved(stranger: Visit, running: Service) -> None:
    page = await _show(stranger, running, _DRAFT)
    await page.get_by_label("Text").fill("new")
    await page.get_by_role("button", name="Save").click()
    await page.wait_for_url("**/page?text=new*")
    assert stranger.dialogs == []
    await stranger.open("/page")
    await page.locator("#draft").wait_for(state="visible")

    await stranger.open("/page?saved=7")
    await stranger.open("/page")
    assert await page.get_by_label("Text").input_value() == "old"
    assert await page.locator("#draft").is_hidden()


async def test_draft_can_be_discarded(stranger: Visit, running: Service) -> None:
    page = await _show(stranger, running, _DRAFT)
    await page.get_by_label("Text").fill("new")
    await page.reload()
    await page.get_by_role("button", name="Discard").click()

    await page.locator("#draft").wait_for(state="hidden")
    assert await page.get_by_label("Text").input_value() == "old"


_ORDER = """
<form id="form"><ol data-order>
<li><button type="button" data-handle>One</button><input type="hidden" name="rule" value="1"></li>
<li><button type="button" data-handle>Two</button><input type="hidden" name="rule" value="2"></li>
<li><button type="button" data-handle>Three</button><input type="hidden" name="rule" value="3"></li>
</ol></form>
"""


async def _rules(page: Page) -> str:
    return str(await page.evaluate("() => new FormData(form).getAll('rule').join()"))


async def test_order_changes_by_dragging(stranger: Visit, running: Service) -> None:
    page = await _show(stranger, running, _ORDER)
    one = await page.get_by_role("button", name="One").bounding_box()
    three = await page.get_by_role("button", name="Three").bounding_box()
    assert one is not None
    assert three is not None
    await page.mouse.move(three["x"] + 5, three["y"] + 5)
    await page.mouse.down()
    await page.mouse.move(one["x"] + 5, one["y"] + 2, steps=5)
    await page.mouse.up()

    assert await _rules(page) == "3,1,2"


async def test_order_changes_by_keys(stranger: Visit, running: Service) -> None:
    page = await _show(stranger, running, _ORDER)
    await page.get_by_role("button", name="One").focus()
    await page.keyboard.press("Alt+ArrowDown")
    assert await _rules(page) == "2,1,3"

    await page.keyboard.press("Alt+ArrowDown")
    await page.keyboard.press("Alt+ArrowDown")
    await page.keyboard.press("Alt+ArrowUp")
    assert await _rules(page) == "2,1,3"
    assert await page.get_by_role("button", name="One").evaluate(
        "e => e === document.activeElement"
    )


async def test_shortcut_follows_keys_but_not_typed_text(stranger: Visit, running: Service) -> None:
    page = await _show(
        stranger,
        running,
        '<button data-shortcut="g f" data-copy="x">Flags</button><input data-shortcut="/">',
    )
    await page.keyboard.press("/")
    await page.keyboard.type("gf")
    assert await page.get_by_role("textbox").input_value() == "gf"
    assert await page.locator("#status").inner_text() == ""

    await page.get_by_role("textbox").blur()
    await page.keyboard.press("g")
    await page.keyboard.press("f")
    await page.locator("#status", has_text="Copied.").wait_for()
