"""A visit of the console in a real browser, which records each fault of a page.

A fault is an error in the browser's console, an uncaught exception, a violation of the
Content-Security-Policy, or a request to another origin.
"""

import os
import re
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import (
    Browser,
    BrowserContext,
    CDPSession,
    ConsoleMessage,
    Dialog,
    Page,
    Request,
    Route,
    WebError,
    async_playwright,
)

from app.console.pages import POLICY
from tests.paths import ROOT
from tests.waiting import HANG_SECONDS

# Screenshots and traces of failures.
ARTIFACTS = ROOT / ".browser"
# A trace stores the page at each step, which takes a fifth of the time.
TRACED = bool(os.environ.get("FLAGSTONE_TRACE"))
WIDTHS = (390, 768, 1280)
HEIGHT = 844
# The shell is the same browser without its own windows and tabs: a page takes a fifth less time.
_PROGRAMS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
_ARGUMENTS = (
    *("--disable-gpu", "--disable-background-networking", "--disable-component-update"),
    *("--disable-sync", "--no-sandbox", "--disable-dev-shm-usage"),
    # Otherwise a page takes a new process, which compiles all scripts again.
    "--disable-site-isolation-trials",
)
_PAGE = """<!doctype html><html lang="en"><head><title>A page</title>
<link rel="icon" href="data:,"></head>
<body data-root=""><main><h1>A page</h1>{content}</main></body></html>"""
_AXE = "vendor/axe.min.js"
_COLOUR_RULES = ["color-contrast", "link-in-text-block"]


def program() -> str:
    """Return the browser. Skip the test without one, or fail it with FLAGSTONE_BROWSER=required."""
    for name in _PROGRAMS:
        if path := shutil.which(name):
            return path
    reason = f"none of {', '.join(_PROGRAMS)} is installed"
    if os.environ.get("FLAGSTONE_BROWSER") == "required":
        pytest.fail(f"{reason}, and FLAGSTONE_BROWSER=required")
    pytest.skip(reason)


@asynccontextmanager
async def launched() -> AsyncIterator[Browser]:
    """Run a browser until the block ends."""
    path = program()
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=path, args=_ARGUMENTS, timeout=HANG_SECONDS * 1000
        )
        yield browser
        await browser.close()


@dataclass
class Visit:
    """One person's cookies and pages, and the faults of these pages."""

    context: BrowserContext
    page: Page
    url: str
    faults: list[str] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    dialogs: list[str] = field(default_factory=list)
    _expected: list[str] = field(default_factory=list)

    def expect_fault(self, pattern: str) -> None:
        """Accept faults that match, such as the console's error for a refused request."""
        self._expected.append(pattern)

    @property
    def unexpected(self) -> list[str]:
        return [
            fault
            for fault in self.faults
            if not any(re.search(pattern, fault) for pattern in self._expected)
        ]

    async def forget(self) -> None:
        """Become a new visit in the same page: without cookies, stored data and faults."""
        for page in self.context.pages:
            if page is not self.page:
                await page.close()
        await self.page.unroute_all()
        # A page of the same origin, which keeps the renderer: a new one costs as much as a page.
        await self.page.goto(f"{self.url}/health/live")
        await self.page.evaluate("() => sessionStorage.clear()")
        await self.context.clear_cookies()
        await self.context.clear_permissions()
        stored = {"origin": self.url, "storageTypes": "all"}
        async with self._protocol() as session:
            await session.send("Storage.clearDataForOrigin", stored)
        await self.look(scheme="light")
        if TRACED:
            await self.context.tracing.stop_chunk()
            await self.context.tracing.start_chunk()
        for recorded in (self.faults, self.requests, self.dialogs, self._expected):
            recorded.clear()

    async def forget_files(self) -> None:
        """Empty the browser's cache."""
        async with self._protocol() as session:
            await session.send("Network.clearBrowserCache")
            # It evicts what the page has in its memory too.
            await session.send("Network.enable")
            await session.send("Network.setCacheDisabled", {"cacheDisabled": True})
            await session.send("Network.setCacheDisabled", {"cacheDisabled": False})

    @asynccontextmanager
    async def _protocol(self) -> AsyncIterator[CDPSession]:
        session = await self.context.new_cdp_session(self.page)
        yield session
        await session.detach()

    async def open_page(self, path: str) -> None:
        """Open a page of the console. Fail unless it is a whole page with status 200."""
        assert await self.open(path) == 200, path
        assert await self.page.locator("#main").count() == 1, f"{path} is no page of the console"

    async def show(self, content: str) -> None:
        """Open a page with this content instead of one of the service, with the strict policy."""

        async def answer(route: Route) -> None:
            headers = {"Content-Security-Policy": POLICY}
            body = _PAGE.format(content=content)
            await route.fulfill(content_type="text/html", headers=headers, body=body)

        await self.page.route(re.compile("/page([?]|$)"), answer)
        await self.open("/page")

    async def open(self, path: str) -> int:
        """Open a page, and return its status."""
        # A click before may still be loading a page, whose scripts would never run.
        await self.page.wait_for_load_state()
        response = await self.page.goto(self.url + path)
        assert response is not None, path
        return response.status

    async def look(self, *, width: int = 1280, scheme: Any = None) -> None:
        """Change the width, and the colour scheme, of the open page."""
        await self.page.set_viewport_size({"width": width, "height": HEIGHT})
        if scheme is not None:
            await self.page.emulate_media(color_scheme=scheme)

    async def assert_accessible(self, *, only_colours: bool = False) -> None:
        """Fail if axe-core finds a violation on the open page. It can check the colours alone."""
        if not await self.page.evaluate("() => 'axe' in window"):
            await self.page.evaluate(_script(_AXE))
        probe = _script("probes/accessibility.js")
        violations = await self.page.evaluate(probe, _COLOUR_RULES if only_colours else None)
        assert not violations, "\n".join([self.page.url, *violations])

    async def assert_laid_out(self) -> None:
        """Fail if the open page scrolls sideways, or if controls cover each other."""
        found = [
            *await self.page.evaluate(_script("probes/overflow.js")),
            *await self.page.evaluate(_script("probes/overlaps.js")),
        ]
        assert not found, "\n".join([f"{self.page.url} {self.page.viewport_size}", *found])

    async def weigh(self) -> dict[str, int]:
        """Return the bytes that each request since the last `clear` brought over the network."""
        weights: dict[str, int] = {}
        for request in list(self.requests):
            response = await request.response()
            # A stream of events never ends.
            if response is None or "event-stream" in response.headers.get("content-type", ""):
                continue
            sizes = await request.sizes()
            weights[request.url] = sizes["responseBodySize"] + sizes["responseHeadersSize"]
        return weights

    def listen(self) -> None:
        """Record the faults of all pages of this visit from now on."""
        self.context.on("console", self._record_message)
        self.context.on("weberror", self._record_error)
        self.context.on("request", self._record_request)
        self.context.on("dialog", self._accept)

    async def _accept(self, dialog: Dialog) -> None:
        """Answer yes, for example to leaving a page with unsaved changes."""
        self.dialogs.append(dialog.type)
        await dialog.accept()

    def _record_message(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            self.faults.append(f"{message.type}: {message.text} ({message.location.get('url')})")

    def _record_error(self, error: WebError) -> None:
        self.faults.append(f"exception: {error.error}")

    def _record_request(self, request: Request) -> None:
        self.requests.append(request)
        if not request.url.startswith((f"{self.url}/", "data:", "blob:", "about:")):
            self.faults.append(f"request to another origin: {request.url}")

    async def save(self, name: str) -> None:
        """Save a screenshot of the open page, and the trace if FLAGSTONE_TRACE asks for it."""
        ARTIFACTS.mkdir(exist_ok=True)
        await self.page.screenshot(path=ARTIFACTS / f"{name}.png", full_page=True)
        if TRACED:
            await self.context.tracing.stop_chunk(path=ARTIFACTS / f"{name}.zip")
            await self.context.tracing.start_chunk()


@asynccontextmanager
async def visiting(browser: Browser, url: str) -> AsyncIterator[Visit]:
    """Open a new context with one page."""
    async with await browser.new_context(
        viewport={"width": 1280, "height": HEIGHT},
        locale="en-GB",
        # A colour in transition has another contrast than at its end.
        reduced_motion="reduce",
    ) as ctx:
        ctx.set_default_timeout(HANG_SECONDS * 1000 / 4)
        await ctx.add_init_script(_script("probes/violations.js"))
        if TRACED:
            await ctx.tracing.start(snapshots=True)
        visit = Visit(context=ctx, page=await ctx.new_page(), url=url)
        visit.listen()
        yield visit


@cache
def _script(name: str) -> str:
    return (Path(__file__).parent / name).read_text()
