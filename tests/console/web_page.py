"""A web page of a team, with the stock web SDK of OpenFeature and its OFREP provider.

The page has the origin of the service, at a path that the browser's driver answers.
"""

import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from playwright.async_api import Browser, Page, Route

from tests.console.browser import visiting

_MODULES = Path(__file__).parent / "vendor"
_PACKAGES = ("core", "web-sdk", "ofrep-core", "ofrep-web-provider")
_IMPORTS = {f"@openfeature/{name}": f"/shop/@openfeature/{name}.js" for name in _PACKAGES}
_TEXT = """<!doctype html><html lang="en"><head><title>A shop</title>
<link rel="icon" href="data:,"><script type="importmap">{imports}</script></head>
<body><output></output><script type="module">
import {{OpenFeature, ProviderEvents}} from "@openfeature/web-sdk";
import {{OFREPWebProvider}} from "@openfeature/ofrep-web-provider";
const {{baseUrl, headers, flag}} = {settings};
const client = OpenFeature.getClient();
window.seen = [];
function show(event) {{
  const value = client.getBooleanValue(flag, false);
  window.seen.push({{event, value, at: Date.now() / 1000}});
  document.querySelector("output").textContent = String(value);
}}
for (const event of ["Ready", "ConfigurationChanged", "Stale", "Error"])
  client.addHandler(ProviderEvents[event], () => show(event));
await OpenFeature.setContext({{targetingKey: "user-1"}});
await OpenFeature.setProviderAndWait(new OFREPWebProvider({{baseUrl, headers}}));
</script></body></html>"""


@dataclass(frozen=True, kw_only=True)
class WebPage:
    """An open page that shows the value of one flag. It is never reloaded."""

    page: Page

    async def shows(self, value: object) -> float:
        """Wait until the page shows the value. Return the time of the event, in Unix seconds."""
        found = await self.page.wait_for_function(
            "value => window.seen?.at(-1)?.value === value && window.seen.at(-1)", arg=value
        )
        event: dict[str, Any] = await found.json_value()
        return float(event["at"])

    async def events(self) -> list[tuple[str, bool]]:
        """Return the events of the provider so far, each with the value that the page got."""
        seen = await self.page.evaluate("() => window.seen")
        return [(event["event"], event["value"]) for event in seen]


@asynccontextmanager
async def open_web_page(
    browser: Browser, url: str, *, environment: str, token: str, flag: str
) -> AsyncIterator[WebPage]:
    settings = {
        "baseUrl": f"{url}/v1/environments/{environment}",
        # As pairs, since the provider does not take an object.
        "headers": [["Authorization", f"Bearer {token}"]],
        "flag": flag,
    }
    text = _TEXT.format(imports=json.dumps({"imports": _IMPORTS}), settings=json.dumps(settings))

    async def answer(route: Route) -> None:
        path = route.request.url.removeprefix(f"{url}/shop/")
        if path:
            module = (_MODULES / path).read_text()
            await route.fulfill(content_type="text/javascript", body=module)
        else:
            await route.fulfill(content_type="text/html", body=text)

    async with visiting(browser, url) as visit:
        await visit.page.route(re.compile("/shop/"), answer)
        await visit.open("/shop/")
        web_page = WebPage(page=visit.page)
        yield web_page
        assert not visit.unexpected, visit.unexpected
