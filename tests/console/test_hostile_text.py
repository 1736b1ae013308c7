"""A hostile text in every field that people can fill: no page runs it or takes it for markup."""

from itertools import groupby
from typing import Any
from urllib.parse import quote

import pytest

from app.access.rate_limit import RATE_LIMIT
from app.configuration.snapshots.reading import FOLLOWER
from app.flags.handlers import USAGE
from tests.conftest import Admin, Service, clean
from tests.console.browser import Visit
from tests.console.page_list import PUBLIC, Entries, page_paths

TEXT = (
    "\"' hostile-attribute=1><hostile-mark><img src=x onerror=alert(1)><script>alert(2)</script>"
    "<svg onload=alert(3)>{{7*7}}${7*7}<!--"
)
ENTRIES = Entries(
    environment="production",
    flag="__proto__/constructor",
    planned="hostile/planned",
    setting="hostile/setting",
    segment="hostile-segment",
    revision="2",
)
# The states of a page have the same address.
STATES = {
    address: list(paths)
    for address, paths in groupby(page_paths(ENTRIES), lambda path: path.partition("?")[0])
}
# Query parameters of pages: those that take any text, and one that is refused.
PARAMETERS = (("q", "prefix", "view", "tab", "saved", "next"), ("at",))
_FIND_MARKS = """
() => {
  const all = [...document.querySelectorAll("*")];
  const found = all.filter(element =>
    element.matches("hostile-mark, [hostile-attribute], a[href^='javascript:' i]") ||
    [...element.attributes].some(attribute => attribute.name.startsWith("on")));
  const text = document.body.innerText;
  const doubled = ["&lt;", "&#34;", "&#39;", "&quot;", "&amp;"].filter(mark => text.includes(mark));
  return [...found.map(element => element.outerHTML.slice(0, 200)), ...doubled];
}
"""


def _flag() -> dict[str, Any]:
    condition = {"==": [{"var": TEXT}, TEXT]}
    return {
        "state": "ENABLED",
        "variants": {TEXT: {TEXT: [TEXT]}, "off": {}},
        "defaultVariant": "off",
        "targeting": {
            "if": [
                *(condition, TEXT),
                *({"in": [{"var": "x"}, [TEXT, "b"]]}, TEXT),
                {"fractional": [[TEXT, 10], ["off", 90]]},
            ]
        },
        "metadata": {"owner": TEXT, "link": "javascript:alert(4)"},
        "owner": TEXT,
        "guards": [{"name": TEXT, "context": {TEXT: TEXT}, "variant": TEXT}],
    }


_SETTING: dict[str, Any] = {
    "kind": "setting",
    "value": {"text": TEXT, "list": [TEXT]},
    "schema": {
        "title": TEXT,
        "type": "object",
        "properties": {"text": {"type": "string", "title": TEXT, "description": TEXT}},
    },
}
_PUTS: dict[str, dict[str, Any]] = {
    ENTRIES.segment: {"kind": "segment", "value": {"in": [{"var": TEXT}, [TEXT, "b"]]}},
    ENTRIES.setting: _SETTING,
    "hostile/secret": {"kind": "secret", "value": f"secret {TEXT}"},
    "hostile/text": {"kind": "setting", "value": TEXT},
}


@pytest.fixture(scope="module")
async def hostile(running: Service, cleaner: Admin) -> Service:
    """Return the service with a hostile text in each field that an API stores."""
    clean(cleaner)
    await running.app[FOLLOWER].refresh()
    running.app[RATE_LIMIT].forget()
    environment = f"/v1/environments/{ENTRIES.environment}"
    name = TEXT[:100]
    token = {"name": name, "scopes": ["read", "write"], "environments": ["*"]}
    issued = await _ask(running, "POST", "/v1/tokens", 201, token)
    author = {"Authorization": f"Bearer {issued['text']}"}
    puts = [
        {"op": "put", "key": key, "version": 0, "description": TEXT[:150], **put}
        for key, put in _PUTS.items()
    ]
    body = {"message": TEXT, "operations": puts}
    await _ask(running, "POST", f"{environment}/changes", 200, body, **author)
    # Other ways to write refuse such names of variants.
    step = {"at": "2099-01-01T00:00:00Z", "rollout": {"variant": "off", "percent": 10}}
    planned = _flag() | {"plan": {"name": TEXT[:100], "steps": [step]}}
    document = {"flags": {ENTRIES.flag: _flag(), ENTRIES.planned: planned}}
    query = f"lenient=true&message={quote(TEXT)}"
    await _ask(running, "POST", f"{environment}/import?{query}", 200, document, **author)
    metadata = {"metadata": {"note": TEXT}, "message": TEXT}
    await _ask(running, "PATCH", environment, 200, metadata, **{"If-Match": '"1"'}, **author)
    context = {"context": {"targetingKey": TEXT, TEXT: TEXT}}
    flags = f"{environment}/ofrep/v1/evaluate/flags"
    await _ask(running, "POST", f"{flags}/{quote(ENTRIES.flag)}", 200, context)
    await running.app[USAGE].run_once()
    return running


async def _ask(
    service: Service, method: str, path: str, status: int, body: Any, **headers: str
) -> Any:
    async with service.client.request(method, path, json=body, headers=headers) as answer:
        assert answer.status == status, await answer.text()
        return await answer.json(content_type=None)


@pytest.fixture
def hostile_visit(hostile: Service, visit: Visit) -> Visit:
    del hostile
    # A refused parameter is an error page, which the browser logs.
    visit.expect_fault("Failed to load resource: the server responded with a status of 4")
    return visit


@pytest.mark.parametrize("address", STATES)
async def test_page_shows_hostile_text_and_parameters_as_text(
    hostile_visit: Visit, address: str
) -> None:
    if address in PUBLIC:
        await hostile_visit.context.clear_cookies()
    for path in STATES[address]:
        await hostile_visit.open_page(path)
        await _assert_harmless(hostile_visit)
    for names in PARAMETERS:
        query = "&".join(f"{name}={quote(TEXT)}" for name in names)
        assert await hostile_visit.open(f"{address}?{query}") < 500
        await _assert_harmless(hostile_visit)


async def test_unknown_page_shows_its_hostile_path_as_text(hostile_visit: Visit) -> None:
    for path in (
        f"/console/{quote(TEXT, safe='')}",
        f"/console/environments/{quote(TEXT, safe='')}/flags",
        f"/console/environments/production/flags/{quote(TEXT, safe='')}",
    ):
        assert await hostile_visit.open(path) in {403, 404}
        await _assert_harmless(hostile_visit)


async def _assert_harmless(visit: Visit) -> None:
    found = await visit.page.evaluate(_FIND_MARKS)
    assert not found, "\n".join([visit.page.url, *found])
    assert not visit.dialogs, visit.page.url
    assert not visit.unexpected, visit.page.url
